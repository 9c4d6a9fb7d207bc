use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::{StreamExt, poll};
use lookbehind_common::blocks::BlockDigest;

use super::*;

fn blocks(count: u8) -> Vec<Block> {
    let digest = BlockDigest::from_bytes([0; BlockDigest::BYTES]);
    (0..count).map(|number| Block { bytes: Bytes::copy_from_slice(&[number]), digest }).collect()
}

/// Takes blocks until none is to be had at once. Returns how many.
async fn take_all(mut download: impl Stream<Item = Block> + Unpin) -> usize {
    let mut taken = 0;
    while let Poll::Ready(Some(_)) = poll!(download.next()) {
        taken += 1;
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn a_download_waits_for_the_slowest_in_proportion_to_its_range() {
    let abreast = Arc::new(Abreast::default());
    let (mut long, mut short) = (pin!(abreast.serve(blocks(30))), pin!(abreast.serve(blocks(10))));
    assert_eq!(take_all(&mut long).await, 3, "two ahead of none, and one that no longer is");
    assert!(short.next().await.is_some());
    assert_eq!(take_all(&mut long).await, 3, "a tenth of each range");
    assert_eq!(take_all(&mut short).await, 3, "and now the short one is ahead");
    assert_eq!(take_all(&mut long).await, 9);
}

#[tokio::test(start_paused = true)]
async fn all_blocks_come_in_their_order() {
    let abreast = Arc::new(Abreast::default());
    let all: Vec<Block> = abreast.serve(blocks(5)).collect().await;
    assert_eq!(all, blocks(5));
    assert!(abreast.lock().lanes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_download_that_takes_nothing_is_not_waited_for() {
    let abreast = Arc::new(Abreast::default());
    let _frozen = pin!(abreast.serve(blocks(10)));
    let begun = Instant::now();
    assert_eq!(abreast.serve(blocks(10)).count().await, 10);
    assert_eq!(begun.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_download_that_is_over_is_not_waited_for() {
    let abreast = Arc::new(Abreast::default());
    let mut other = Box::pin(abreast.serve(blocks(10)));
    let gone = abreast.serve(blocks(10));
    assert_eq!(take_all(&mut other).await, 3);
    let waiting = tokio::spawn(async move { other.next().await });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    drop(gone);
    assert!(waiting.await.expect("it is not cancelled").is_some());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
