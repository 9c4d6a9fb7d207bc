//! The bytes of a call that carries a transfer: the same events however the bytes are split, and the same as a protobuf
//! decoder finds. The first eight bytes of an input determine how the rest is split.

use bytes::Bytes;
use lookbehind_proto::transfer::parser::{Event, Parser};
use lookbehind_proto::transfer::{MAX_MESSAGE_BYTES, TransferError};
use lookbehind_proto::v1;
use prost::Message;

use crate::memory;

/// Complete messages, all of which the parser accepts, are accepted.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let (cuts, bytes) = bytes.split_at(bytes.len().min(8));
    // Memory for the message that is being read, and for the events.
    let limit = (1 << 16) + 32 * bytes.len();
    let whole = memory::within(limit, || parse(bytes, [bytes.len()].into_iter()));
    let sizes = cuts.iter().map(|&cut| usize::from(cut % 16 + 1) * usize::from(cut / 16 + 1));
    let cut = parse(bytes, sizes.chain([1]).cycle());
    assert_eq!(whole.events, cut.events, "the events depend on how the bytes are cut");
    assert_eq!(whole.error, cut.error);
    assert!(whole.error.is_some() || whole.is_between_messages == cut.is_between_messages);
    agrees_with_a_decoder(&whole, bytes);
    is_counted(&whole.events);
    whole.error.is_none() && whole.is_between_messages
}

struct Parsed {
    /// Adjacent data events are merged.
    events: Vec<Event>,
    error: Option<TransferError>,
    is_between_messages: bool,
}

fn parse(mut bytes: &[u8], mut sizes: impl Iterator<Item = usize>) -> Parsed {
    let mut parser = Parser::default();
    let (mut events, mut error) = (Vec::new(), None);
    while error.is_none() && !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(sizes.next().unwrap_or(1).min(bytes.len()));
        bytes = rest;
        parser.feed(Bytes::copy_from_slice(piece));
        error = loop {
            match parser.next_event() {
                Ok(None) => break None,
                Ok(Some(event)) => push(&mut events, event),
                Err(error) => break Some(error),
            }
        };
    }
    Parsed { events, error, is_between_messages: parser.is_between_messages() }
}

fn push(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (Some(Event::Data(data)), Event::Data(more)) => *data = [&data[..], &more].concat().into(),
        (_, event) => events.push(event),
    }
}

/// A message of any transfer, with its header undecoded.
#[derive(Clone, PartialEq, Message)]
struct AnyMessage {
    #[prost(bytes = "bytes", optional, tag = "1")]
    header: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    chunk: Option<v1::Chunk>,
    #[prost(message, optional, tag = "3")]
    trailer: Option<v1::Trailer>,
}

/// Every complete message gives the same events as a decoder, or an error if the decoder has one.
fn agrees_with_a_decoder(parsed: &Parsed, mut bytes: &[u8]) {
    let mut expected = Vec::new();
    while let Some(([0, length @ ..], rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        let events = match AnyMessage::decode(message) {
            Ok(message) if length <= MAX_MESSAGE_BYTES => events_of(message),
            _ => None,
        };
        let Some(events) = events else {
            assert!(parsed.error.is_some(), "accepted what a decoder refuses: {:?}", message.escape_ascii());
            break;
        };
        events.into_iter().for_each(|event| push(&mut expected, event));
        bytes = rest;
    }
    assert!(parsed.events.len() >= expected.len(), "{:?}, expected {expected:?}", parsed.events);
    assert_eq!(parsed.events[..expected.len()], expected);
}

/// `None` if a message does not have exactly one part.
fn events_of(message: AnyMessage) -> Option<Vec<Event>> {
    match message {
        AnyMessage { header: Some(header), chunk: None, trailer: None } => Some(vec![Event::Header(header)]),
        AnyMessage { header: None, chunk: Some(v1::Chunk { offset, data }), trailer: None } => {
            let begin = Event::Chunk { offset, length: data.len() };
            Some(if data.is_empty() { vec![begin] } else { vec![begin, Event::Data(data)] })
        }
        AnyMessage { header: None, chunk: None, trailer: Some(trailer) } => {
            Some(vec![Event::Trailer(trailer)])
        }
        _ => None,
    }
}

/// Every chunk has as much data as it announces, except the last, which may be cut off.
fn is_counted(events: &[Event]) {
    for (index, event) in events.iter().enumerate() {
        let data = match events.get(index + 1) {
            Some(Event::Data(data)) => data.len(),
            _ => 0,
        };
        match event {
            Event::Chunk { length, .. } => {
                assert!(data == *length || index + 2 >= events.len() && data < *length)
            }
            _ => assert_eq!(data, 0, "data that belong to no chunk"),
        }
    }
}
