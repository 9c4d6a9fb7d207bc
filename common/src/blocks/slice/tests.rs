use super::*;

fn block(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * index / 7) as u8).collect()
}

#[test]
fn every_slice_proves_the_digest_of_its_block() {
    for bytes in [4, 1024, 1028, SLICE_BYTES, SLICE_BYTES + 4, 100_000, 3 * SLICE_BYTES, 1 << 20] {
        let block = block(bytes);
        for slice in 0..slices(bytes) {
            let proof = prove(&block, slice);
            assert!(proof.len() <= 6, "{} hashes", proof.len());
            let found = digest(bytes, slice, &block[place(bytes, slice)], &proof);
            assert_eq!(found, Some(BlockDigest::of(&block)), "slice {slice} of {bytes} bytes");
        }
    }
}

#[test]
fn another_slice_or_another_place_proves_nothing() {
    let block = block(100_000);
    let proof = prove(&block, 2);
    let values = block[place(block.len(), 2)].to_vec();
    let whole = Some(BlockDigest::of(&block));
    let mut changed = values.clone();
    changed[5] ^= 1;
    assert_ne!(digest(block.len(), 2, &changed, &proof), whole);
    assert_ne!(digest(block.len(), 3, &values, &proof), whole);
    let mut other = proof.clone();
    other[1][0] ^= 1;
    assert_ne!(digest(block.len(), 2, &values, &other), whole);
    assert_eq!(digest(block.len(), 2, &values, &proof[1..]), None);
    assert_eq!(digest(block.len(), 2, &values[1..], &proof), None);
    assert_eq!(digest(block.len(), 7, &[], &proof), None, "there are seven slices");
}
