use super::*;

fn segment(first: u32, end: u32) -> Segment {
    Segment { first, end }
}

#[test]
fn what_was_added_is_told_in_runs_of_blocks() {
    let digest = |number: u32| BlockDigest::of(&number.to_le_bytes());
    let mut runs = Runs::default();
    for block in [3, 4, 6] {
        runs.note(block, vec![(segment(0, 2), digest(block))]);
    }
    runs.note(5, vec![(segment(0, 1), digest(50)), (segment(1, 2), digest(51))]);
    assert!(runs.has(5) && !runs.has(7));
    let found: Vec<_> = runs.into_runs().iter().map(|run| (run.segment, run.blocks, run.digest)).collect();
    let range = |first, end| BlockRange::new(first, end).unwrap();
    let of = |digests: &[BlockDigest]| BlockDigest::of_all(digests);
    assert_eq!(
        found,
        [
            (segment(0, 1), range(5, 6), of(&[digest(50)])),
            (segment(0, 2), range(3, 5), of(&[digest(3), digest(4)])),
            (segment(0, 2), range(6, 7), of(&[digest(6)])),
            (segment(1, 2), range(5, 6), of(&[digest(51)])),
        ]
    );
}
