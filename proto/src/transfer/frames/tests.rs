use proptest::prelude::*;
use v1::upload_partial_request::Part;

use super::*;
use crate::transfer::{CHUNK_BYTES, Sender};

fn header() -> v1::PartialHeader {
    v1::PartialHeader { gradient: 300_000, loss_sum: 1.5, ..v1::PartialHeader::default() }
}

/// The bytes that a protobuf encoder writes for the same parts.
fn encoded(parts: Vec<Part>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let message = v1::UploadPartialRequest { part: Some(part) };
        bytes.push(0);
        bytes.extend((message.encoded_len() as u32).to_be_bytes());
        message.encode(&mut bytes).unwrap();
    }
    bytes
}

fn part_of(piece: Piece) -> Part {
    match piece {
        Piece::Chunk(chunk) => Part::Chunk(chunk),
        Piece::Trailer(trailer) => Part::Trailer(trailer),
    }
}

#[test]
fn frames_are_what_a_protobuf_encoder_writes() {
    for length in [0, 1, 127, 128, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 300] {
        let data = Bytes::from_iter((0..length).map(|i| (i % 251) as u8));
        let pieces = || Sender::new([data.clone()], b"sums");
        let expected =
            encoded(std::iter::once(Part::Header(header())).chain(pieces().map(part_of)).collect());
        let found: Vec<Bytes> = Frames::transfer(&header(), pieces()).collect();
        assert!(found.concat() == expected, "{length} bytes");
    }
}

#[test]
fn data_are_shared_and_not_copied() {
    let data = Bytes::from(vec![7; 1000]);
    let frames: Vec<Bytes> = Frames::transfer(&header(), Sender::new([data.clone()], b"")).collect();
    assert!(frames.iter().any(|frame| frame.as_ptr() == data.as_ptr()));
}

#[test]
fn the_last_frame_is_known_as_the_last() {
    let mut transfer = Frames::transfer(&header(), Sender::new([Bytes::from(vec![7; 1000])], b""));
    let mut ended = Vec::new();
    while transfer.next().is_some() {
        ended.push(transfer.is_ended());
    }
    assert_eq!(ended, [false, false, false, true]); // header, head of the chunk, data, trailer
    let mut message = Frames::message(&header());
    assert!(!message.is_ended());
    let bytes = message.next().unwrap();
    assert!(message.is_ended());
    assert_eq!(v1::PartialHeader::decode(bytes.slice(PREFIX..)).unwrap(), header());
}

proptest! {
    #[test]
    fn any_transfer_is_written_as_a_protobuf_encoder_writes_it(
        parts in prop::collection::vec(0..3 * CHUNK_BYTES, 0..4),
        covered in prop::collection::vec(any::<u8>(), 0..30),
        (gradient, loss_sum) in (any::<u64>(), any::<f64>()),
    ) {
        let header = v1::PartialHeader { gradient, loss_sum, ..v1::PartialHeader::default() };
        let data = |length: &usize| Bytes::from_iter((0..*length).map(|i| (i % 251) as u8));
        let pieces = || Sender::new(parts.iter().map(data), &covered);
        let expected = encoded(std::iter::once(Part::Header(header.clone())).chain(pieces().map(part_of)).collect());
        let found: Vec<Bytes> = Frames::transfer(&header, pieces()).collect();
        prop_assert!(found.concat() == expected);
    }

    #[test]
    fn any_chunk_is_written_as_a_protobuf_encoder_writes_it(
        offset in prop_oneof![any::<u64>(), 0..70_000_u64], length in 0..20_000_usize,
    ) {
        let chunk = v1::Chunk { offset, data: vec![7; length].into() };
        let end = Piece::Trailer(v1::Trailer::default());
        let pieces = || [Piece::Chunk(chunk.clone()), end.clone()].into_iter();
        let expected = encoded(std::iter::once(Part::Header(header())).chain(pieces().map(part_of)).collect());
        let found: Vec<Bytes> = Frames::transfer(&header(), pieces()).collect();
        prop_assert!(found.concat() == expected);
    }
}
