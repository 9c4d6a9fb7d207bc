use bytes::Bytes;
use futures_util::StreamExt;
use lookbehind_common::blocks::BlockDigest;

use super::*;

fn blocks(count: u8) -> Vec<Block> {
    let digest = BlockDigest::from_bytes([0; BlockDigest::BYTES]);
    (0..count).map(|number| Block { bytes: Bytes::copy_from_slice(&[number]), digest }).collect()
}

/// Advances a download until it has to wait. Returns by how many blocks.
fn advance_all(lanes: &mut Lanes, number: u64, now: Instant) -> usize {
    let all = lanes.lanes[&number].all;
    (0..all).take_while(|_| lanes.advance(number, now).is_none()).count()
}

#[test]
fn a_download_waits_for_the_slowest_in_proportion_to_its_range() {
    let (mut lanes, now) = (Lanes::default(), Instant::now());
    let (long, short) = (lanes.open(30, now), lanes.open(10, now));
    assert_eq!(advance_all(&mut lanes, long, now), 3, "until it is more than two ahead of none");
    assert_eq!(lanes.advance(short, now), None);
    assert_eq!(advance_all(&mut lanes, long, now), 3, "a tenth of its range as well");
    assert_eq!(advance_all(&mut lanes, short, now), 4, "now the short one is ahead");
}

#[test]
fn a_download_that_takes_nothing_is_waited_for_for_a_while() {
    let (mut lanes, begun) = (Lanes::default(), Instant::now());
    let (frozen, other) = (lanes.open(10, begun), lanes.open(10, begun));
    assert_eq!(advance_all(&mut lanes, other, begun), 3);
    assert_eq!(lanes.advance(other, begun), Some(begun + PATIENCE));
    assert_eq!(advance_all(&mut lanes, other, begun + PATIENCE), 10, "it may be gone");
    assert_eq!(lanes.advance(frozen, begun + PATIENCE), None, "it may go on");
}

#[tokio::test]
async fn all_blocks_come_in_their_order_whatever_another_download_does() {
    let abreast = Arc::new(Abreast::default());
    let frozen = abreast.serve(blocks(5));
    let all: Vec<Block> = abreast.serve(blocks(5)).collect().await;
    assert_eq!(all, blocks(5));
    drop(frozen);
    assert!(abreast.lock().lanes.is_empty(), "a download that is over is not waited for");
}

#[tokio::test]
async fn a_download_goes_on_when_the_one_that_it_waits_for_is_over() {
    let abreast = Arc::new(Abreast::default());
    // It never counts as gone.
    let number = abreast.lock().open(10, Instant::now() + Duration::from_secs(3600));
    let slow = Download { abreast: Arc::clone(&abreast), number };
    let mut other = Box::pin(abreast.serve(blocks(10)));
    for _ in 0..3 {
        assert!(other.next().await.is_some());
    }
    let waiting = tokio::spawn(async move { other.next().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(slow);
    assert!(waiting.await.expect("it is not cancelled").is_some());
}
