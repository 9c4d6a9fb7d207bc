use proptest::prelude::*;
use v1::upload_partial_request::Part as PartialPart;

use super::*;
use crate::transfer::frames::Frames;
use crate::transfer::{CHUNK_BYTES, Piece, Sender};

/// Parses bytes that arrive in pieces of the given sizes, which repeat; joins consecutive data.
fn parse(bytes: &[u8], sizes: &[usize]) -> Result<(Vec<Event>, bool), TransferError> {
    let (mut parser, mut events, mut rest) = (Parser::default(), Vec::new(), bytes);
    for size in sizes.iter().copied().cycle() {
        let (piece, later) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
        parser.feed(Bytes::copy_from_slice(piece));
        while let Some(event) = parser.next_event()? {
            match (events.last_mut(), event) {
                (Some(Event::Data(data)), Event::Data(more)) => *data = [&data[..], &more].concat().into(),
                (_, event) => events.push(event),
            }
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    Ok((events, parser.is_between_messages()))
}

fn header() -> v1::PartialHeader {
    v1::PartialHeader { gradient: 300_000, loss_sum: 1.5, ..v1::PartialHeader::default() }
}

fn data(length: usize) -> Bytes {
    Bytes::from_iter((0..length).map(|i| (i % 251) as u8))
}

fn transfer(length: usize) -> Vec<u8> {
    Frames::transfer(&header(), Sender::new([data(length)], b"sums")).collect::<Vec<_>>().concat()
}

fn events(length: usize) -> Vec<Event> {
    let mut events = vec![Event::Header(header().encode_to_vec().into())];
    for piece in Sender::new([data(length)], b"sums") {
        match piece {
            Piece::Chunk(v1::Chunk { offset, data }) => {
                events.push(Event::Chunk { offset, length: data.len() });
                events.push(Event::Data(data));
            }
            Piece::Trailer(trailer) => events.push(Event::Trailer(trailer)),
        }
    }
    events
}

/// A message with its prefix, as in the body of a call.
fn message(content: &[u8]) -> Vec<u8> {
    [&[0], &(content.len() as u32).to_be_bytes()[..], content].concat()
}

#[test]
fn a_chunk_without_data_is_read_wherever_it_is_cut() {
    let bytes = [crate::transfer::frames::empty_chunk(), message(&[CHUNK, 0]).into()].concat();
    for size in 1..=bytes.len() {
        let empty = Event::Chunk { offset: 0, length: 0 };
        assert_eq!(parse(&bytes, &[size]), Ok((vec![empty.clone(), empty], true)), "pieces of {size}");
    }
}

#[test]
fn chunks_are_handed_on_as_they_come() {
    let bytes = transfer(CHUNK_BYTES);
    let mut parser = Parser::default();
    parser.feed(Bytes::copy_from_slice(&bytes[..200_000]));
    let mut seen = 0;
    while let Some(event) = parser.next_event().unwrap() {
        if let Event::Data(data) = event {
            seen += data.len();
        }
    }
    assert!(seen > 199_000 && !parser.is_between_messages(), "{seen} bytes were handed on");
}

#[test]
fn fields_in_another_order_and_unknown_ones_are_read_as_well() {
    let chunk = v1::Chunk { offset: 77, data: data(300) }.encode_to_vec();
    let swapped = [&chunk[2..], &chunk[..2]].concat();
    let unknown = [&chunk[..], &[0x18, 1]].concat(); // field 3, varint
    for chunk in [&chunk, &swapped, &unknown] {
        let part = [&[0x12][..], &[(chunk.len() & 0x7f | 0x80) as u8, (chunk.len() >> 7) as u8], &chunk[..]]
            .concat();
        let expected = vec![Event::Chunk { offset: 77, length: 300 }, Event::Data(data(300))];
        for sizes in [&[1][..], &[7], &[10_000]] {
            let (events, whole) = parse(&message(&part), sizes).unwrap();
            assert!(whole && events == expected, "{chunk:?} in pieces of {sizes:?}");
        }
    }
}

#[test]
fn an_empty_chunk_is_a_chunk() {
    let part = v1::UploadPartialRequest { part: Some(PartialPart::Chunk(v1::Chunk::default())) };
    let (events, whole) = parse(&message(&part.encode_to_vec()), &[100]).unwrap();
    assert_eq!((events, whole), (vec![Event::Chunk { offset: 0, length: 0 }], true));
}

#[test]
fn what_is_no_message_of_a_transfer_is_refused() {
    let huge = [&[0], &(MAX_MESSAGE_BYTES as u32 + 1).to_be_bytes()[..]].concat();
    assert_eq!(
        parse(&huge, &[3]),
        Err(TransferError::MessageSize { found: MAX_MESSAGE_BYTES + 1, most: MAX_MESSAGE_BYTES })
    );
    let compressed = [1, 0, 0, 0, 0];
    assert!(matches!(parse(&compressed, &[5]), Err(TransferError::Malformed { .. })));
    assert!(matches!(parse(&message(&[0xff; 50]), &[9]), Err(TransferError::Malformed { .. })));
    assert!(matches!(parse(&message(&[]), &[9]), Err(TransferError::Protocol { .. })));
    let both = [transfer(1)[5..].to_vec(), vec![0x1a, 0]].concat();
    assert!(parse(&message(&both), &[9]).is_err());
}

fn any_part() -> impl Strategy<Value = PartialPart> {
    let bytes = |most: usize| prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
    let header = any::<(u64, f64)>().prop_map(|(gradient, loss_sum)| v1::PartialHeader {
        gradient,
        loss_sum,
        ..v1::PartialHeader::default()
    });
    prop_oneof![
        header.prop_map(PartialPart::Header),
        (any::<u64>(), bytes(600)).prop_map(|(offset, data)| PartialPart::Chunk(v1::Chunk { offset, data })),
        bytes(40).prop_map(|checksum| PartialPart::Trailer(v1::Trailer { checksum })),
    ]
}

fn events_of(part: PartialPart) -> Vec<Event> {
    match part {
        PartialPart::Header(header) => vec![Event::Header(header.encode_to_vec().into())],
        PartialPart::Chunk(v1::Chunk { offset, data }) => {
            let begin = Event::Chunk { offset, length: data.len() };
            if data.is_empty() { vec![begin] } else { vec![begin, Event::Data(data)] }
        }
        PartialPart::Trailer(trailer) => vec![Event::Trailer(trailer)],
    }
}

proptest! {
    #[test]
    fn a_transfer_is_read_however_it_is_cut(
        length in prop_oneof![0..600_usize, (CHUNK_BYTES - 3..CHUNK_BYTES + 3)],
        sizes in prop::collection::vec(prop_oneof![1..40_usize, 100_000..400_000_usize], 1..20),
    ) {
        let sizes = if length > 1000 { sizes.iter().map(|size| size * 1000).collect() } else { sizes };
        let (found, whole) = parse(&transfer(length), &sizes).unwrap();
        prop_assert!(whole && found == events(length));
    }

    #[test]
    fn what_a_protobuf_encoder_writes_is_read(
        parts in prop::collection::vec(any_part(), 0..8), sizes in prop::collection::vec(1..300_usize, 1..10),
    ) {
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|part| message(&v1::UploadPartialRequest { part: Some(part.clone()) }.encode_to_vec()))
            .collect();
        let (found, whole) = parse(&bytes, &sizes).unwrap();
        prop_assert!(whole);
        prop_assert_eq!(found, parts.into_iter().flat_map(events_of).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
        let _ = parse(&bytes, &[size]);
        let _ = parse(&message(&bytes), &[size]);
    }
}
