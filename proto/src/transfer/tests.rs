use std::sync::Arc;

use bytes::Bytes;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;

use super::*;

fn flat_buffers() -> [FlatBuffer; 2] {
    let first: Vec<f32> = (0..600_000).map(|i| i as f32).collect();
    let second: Vec<f32> = (0..7).map(|i| -(i as f32)).collect();
    [first.into(), second.into()]
}

fn pieces() -> Vec<Piece> {
    let parts = flat_buffers().map(|flat_buffer| Bytes::copy_from_slice(flat_buffer.as_bytes()));
    Sender::new(parts, b"sums").collect()
}

fn receive(pieces: &[Piece], lengths: [usize; 2]) -> Result<([FlatBuffer; 2], Checksum), TransferError> {
    receive_in(ExchangeFormat::F32, pieces, lengths)
}

fn receive_in(
    format: ExchangeFormat,
    pieces: &[Piece],
    lengths: [usize; 2],
) -> Result<([FlatBuffer; 2], Checksum), TransferError> {
    let flat_buffers = lengths.map(FlatBuffer::zeros);
    let mut receiver = FlatBufferReceiver::into_flat_buffers(flat_buffers, format);
    for piece in pieces {
        match piece {
            Piece::Chunk(chunk) => {
                receiver.begin(chunk.offset, chunk.data.len())?;
                receiver.fill(&chunk.data)?;
            }
            Piece::Trailer(trailer) => return receiver.finish(trailer, b"sums"),
        }
    }
    panic!("no trailer")
}

const LENGTHS: [usize; 2] = [600_000, 7];

#[test]
fn what_is_sent_arrives() {
    let (got, _) = receive(&pieces(), LENGTHS).expect("a faultless transfer");
    assert_eq!(got, flat_buffers());
}

#[test]
fn gradients_in_bf16_take_half_the_bytes_and_arrive_as_they_were_rounded() {
    let bf16 = ExchangeFormat::Bf16;
    let [mut first, second] = flat_buffers();
    bf16.round(&mut first).expect("small values");
    let parts =
        [bf16.into_bytes(Arc::new(first.clone())), ExchangeFormat::F32.into_bytes(Arc::new(second.clone()))];
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    assert_eq!(bytes, 2 * LENGTHS[0] + 4 * LENGTHS[1]);
    let pieces: Vec<_> = Sender::new(parts, b"sums").collect();
    let (got, checksum) = receive_in(bf16, &pieces, LENGTHS).expect("a faultless transfer");
    let handed_over = in_process::checksum(&got, bf16, b"sums");
    assert_eq!(got, [first, second]);
    assert_eq!(checksum, handed_over, "the same partial has one checksum, however it travels");
    assert!(matches!(receive(&pieces, LENGTHS), Err(TransferError::TooShort { .. })));
}

#[test]
fn chunk_boundaries_need_not_fall_between_flat_buffers() {
    let whole = flat_buffers().each_ref().map(|flat_buffer| flat_buffer.as_bytes()).concat();
    let pieces: Vec<_> = Sender::new([Bytes::from(whole)], b"sums").collect();
    let (got, _) = receive(&pieces, LENGTHS).expect("a faultless transfer");
    assert_eq!(got, flat_buffers());
}

#[test]
fn missing_doubled_and_swapped_chunks_are_refused() {
    let mut missing = pieces();
    missing.remove(1);
    assert!(matches!(receive(&missing, LENGTHS), Err(TransferError::OutOfOrder { .. })));
    let mut doubled = pieces();
    doubled.insert(1, doubled[0].clone());
    assert!(matches!(receive(&doubled, LENGTHS), Err(TransferError::OutOfOrder { .. })));
    let mut swapped = pieces();
    swapped.swap(0, 1);
    assert!(matches!(receive(&swapped, LENGTHS), Err(TransferError::OutOfOrder { .. })));
}

#[test]
fn lengths_other_than_declared_are_refused() {
    assert!(matches!(receive(&pieces(), [600_000, 6]), Err(TransferError::TooLong { .. })));
    assert!(matches!(receive(&pieces(), [600_000, 8]), Err(TransferError::TooShort { .. })));
    let huge = Piece::Chunk(v1::Chunk { offset: 0, data: vec![0; CHUNK_BYTES + 1].into() });
    assert!(matches!(receive(&[huge], LENGTHS), Err(TransferError::ChunkSize { .. })));
    let empty = Piece::Chunk(v1::Chunk { offset: 0, data: Bytes::new() });
    assert!(matches!(receive(&[empty], LENGTHS), Err(TransferError::ChunkSize { .. })));
}

#[test]
fn a_flipped_bit_is_found() {
    let mut flipped = pieces();
    if let Piece::Chunk(chunk) = &mut flipped[1] {
        let mut data = chunk.data.to_vec();
        data[77] ^= 1;
        chunk.data = data.into();
    }
    assert_eq!(receive(&flipped, LENGTHS).err(), Some(TransferError::Checksum));
}
