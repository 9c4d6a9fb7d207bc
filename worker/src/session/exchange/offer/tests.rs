use futures_util::StreamExt;
use lookbehind_common::blocks::BLOCK_ELEMENTS;

use super::*;

fn block(content: &'static [u8]) -> Block {
    Block { bytes: content.into(), digest: BlockDigest::of(content) }
}

#[tokio::test]
async fn blocks_are_handed_on_in_order_whatever_order_they_come_in() {
    let range = BlockRange::new(2, 4).unwrap();
    let offer = Arc::new(Offer::new(range));
    let waiting = tokio::spawn(Arc::clone(&offer).stream(range).map(Result::unwrap).collect::<Vec<_>>());
    offer.put(3, block(b"second"));
    offer.put(2, block(b"first"));
    assert_eq!(waiting.await.unwrap(), [block(b"first"), block(b"second")]);
    assert_eq!(offer.get(4).await, None);
    assert_eq!(offer.get(1).await, None);
}

#[tokio::test]
async fn whoever_waits_for_a_block_that_will_not_come_is_told() {
    let range = BlockRange::new(0, 2).unwrap();
    let offer = Arc::new(Offer::new(range));
    offer.put(0, block(b"here"));
    let waiting = tokio::spawn(Arc::clone(&offer).stream(range).collect::<Vec<_>>());
    offer.close();
    let found = waiting.await.unwrap();
    assert_eq!(found[0].as_ref().unwrap(), &block(b"here"));
    let code = found[1].as_ref().map_err(Status::code);
    assert_eq!((code, found.len()), (Err(tonic::Code::FailedPrecondition), 2));
}

#[tokio::test]
async fn a_filled_offer_has_the_blocks_of_both_flat_buffers() {
    let values = ModelState { parameters: vec![1.0; BLOCK_ELEMENTS + 1], statistics: vec![2.0; 3] };
    let values = values.map(|values| Arc::new(FlatBuffer::from(values)));
    let blocks = Blocks::new(values.lengths());
    let offer = Offer::new(BlockRange::new(0, 3).unwrap());
    let digests = offer.fill(&blocks, &values, &[2, 0, 1]);
    assert_eq!(digests, blocks.digests(values.values()));
    assert_eq!(offer.get(1).await.unwrap().bytes, 1_f32.to_le_bytes()[..]);
    let last = offer.get(2).await.unwrap();
    assert_eq!(last.bytes.len(), 12);
    assert_eq!(last.digest, digests[2]);
    let halved = blocks.of_gradients(lookbehind_common::exchange_format::ExchangeFormat::Bf16);
    let offer = Offer::new(BlockRange::new(0, 3).unwrap());
    assert_eq!(offer.fill(&halved, &values, &[1, 2, 0]), halved.digests(values.values()));
    let block = offer.get(1).await.unwrap();
    assert_eq!((&block.bytes[..], block.digest), (&[0x80, 0x3f][..], BlockDigest::of(&[0x80, 0x3f])));
    assert_eq!(offer.get(2).await.unwrap(), last, "statistics are not rounded");
}
