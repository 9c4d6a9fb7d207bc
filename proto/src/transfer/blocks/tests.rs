use std::pin::pin;
use std::task::{Context, Poll};

use futures_util::stream;
use lookbehind_common::blocks::{BLOCK_ELEMENTS, Blocks};
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::{FlatBuffer, shared_bytes};
use lookbehind_common::model_state::ModelState;
use tonic::Code;

use super::*;

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a body in memory made its reader wait"),
    }
}

fn blocks() -> Blocks {
    Blocks::new(ModelState { parameters: BLOCK_ELEMENTS + 2, statistics: 1 })
}

/// The blocks with every element equal to the block's number.
fn sent(range: BlockRange) -> Vec<Result<Block, Status>> {
    let block = |number: u32| {
        let values = vec![number as f32; blocks().place(number).1.len()];
        let bytes = shared_bytes(&FlatBuffer::from(values).into());
        Ok(Block { digest: BlockDigest::of(&bytes), bytes })
    };
    range.numbers().map(block).collect()
}

fn read(
    sent: Vec<Result<Block, Status>>,
    range: BlockRange,
) -> Result<Vec<(u32, FlatBuffer)>, IncomingError> {
    let body = response(stream::iter(sent));
    let mut reader = BlockReader::new(body, range);
    let mut found = Vec::new();
    while let Some(number) = reader.next_number() {
        let mut block = FlatBuffer::zeros(blocks().place(number).1.len());
        now(reader.read(block.as_bytes_mut()))?;
        found.push((number, block));
    }
    Ok(found)
}

#[test]
fn blocks_arrive_as_they_were_sent() {
    for (first, end) in [(0, 3), (1, 2), (1, 3)] {
        let range = BlockRange::new(first, end).unwrap();
        let found = read(sent(range), range).unwrap();
        assert_eq!(
            found.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            Vec::from_iter(range.numbers())
        );
        for (number, block) in found {
            assert_eq!(block.len(), blocks().place(number).1.len());
            assert!(block.iter().all(|value| *value == number as f32));
        }
    }
}

#[test]
fn blocks_of_gradients_in_bf16_take_half_the_bytes() {
    let blocks = blocks().of_gradients(ExchangeFormat::Bf16);
    let range = blocks.all().unwrap();
    let values = |number: u32| vec![number as f32 + 0.5; blocks.place(number).1.len()];
    let sent: Vec<_> = (range.numbers().map(|number| {
        let format = blocks.format(blocks.place(number).0);
        let bytes = Bytes::from(format.bytes_of(&values(number)).into_owned());
        Ok(Block { digest: blocks.digest(number, &values(number)), bytes })
    }))
    .collect();
    let lengths: Vec<usize> = sent.iter().flatten().map(|block| block.bytes.len()).collect();
    assert_eq!(lengths, [2 * BLOCK_ELEMENTS, 2 * 2, 4], "the block of the statistics is f32");
    assert_eq!(blocks.bytes(), lengths.iter().sum::<usize>());
    let body = response(stream::iter(sent));
    let mut reader = BlockReader::new(body, range);
    while let Some(number) = reader.next_number() {
        let mut bytes = vec![0; lengths[number as usize]];
        let digest = now(reader.read(&mut bytes)).unwrap();
        let found = blocks.format(blocks.place(number).0).values_of(&bytes);
        assert_eq!(found, values(number));
        assert_eq!(digest, blocks.digest(number, &found));
    }
}

#[test]
fn damaged_missing_and_misplaced_blocks_are_refused() {
    let range = blocks().all().unwrap();
    let mut damaged = sent(range);
    damaged[1] = Ok(Block { digest: BlockDigest::of(b"other"), ..damaged[1].clone().unwrap() });
    assert!(matches!(read(damaged, range), Err(IncomingError::Transfer(TransferError::Checksum))));
    let mut short = sent(range);
    short.pop();
    assert!(
        matches!(read(short, range), Err(IncomingError::Call(status)) if status.code() == Code::Unavailable)
    );
    let misplaced = sent(range).into_iter().rev().collect();
    assert!(matches!(read(misplaced, range), Err(IncomingError::Transfer(TransferError::OutOfOrder { .. }))));
    let mut refused = sent(range);
    refused[0] = Err(Status::permission_denied("not for you"));
    assert!(
        matches!(read(refused, range), Err(IncomingError::Call(status)) if status.code() == Code::PermissionDenied)
    );
}
