use lookbehind_common::flat_buffer::shared_bytes;

use super::*;
use crate::transfer::{Piece, Sender};

#[test]
fn the_checksum_is_that_of_a_transfer_of_the_same_flat_buffers() {
    let first = FlatBuffer::from((0..300_000).map(|number| number as f32).collect::<Vec<_>>());
    for second in [FlatBuffer::default(), FlatBuffer::from(vec![1.5, -2.0])] {
        let parts = [&first, &second].map(|flat_buffer| shared_bytes(&Arc::new(flat_buffer.clone())));
        let Some(Piece::Trailer(trailer)) = Sender::new(parts, b"covered").last() else {
            panic!("no trailer")
        };
        let found = checksum(&[first.clone(), second], ExchangeFormat::F32, b"covered");
        assert_eq!(trailer.checksum, found.to_be_bytes()[..]);
    }
}

#[test]
fn what_is_handed_over_is_taken_once() {
    let handed = Handed::new([FlatBuffer::zeros(2), FlatBuffer::zeros(1)]);
    assert_eq!(
        handed.clone().take().map(|flat_buffers| flat_buffers.map(|flat_buffer| flat_buffer.len())),
        Some([2, 1])
    );
    assert!(handed.take().is_none());
}
