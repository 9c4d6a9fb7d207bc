use lookbehind_common::reduction;

use super::*;

/// A part that was fetched, or of a partial that was made here.
fn part(values: &[f32], is_fetched: bool) -> Part {
    let values = FlatBuffer::from(values.to_vec());
    let digest = BlockDigest::of(values.as_bytes());
    let values = match is_fetched {
        true => Values::Owned(values),
        false => Values::Shared(shared_bytes(&Arc::new(values))),
    };
    Part { values, digest }
}

fn segment(first: u32, end: u32) -> Segment {
    Segment { first, end }
}

/// Parts of shards with values whose sum depends on the order of the additions.
fn shard(number: u32) -> Vec<f32> {
    (0..5).map(|element| 0.1 * (number as f32 + 1.0).powi(element * 3)).collect()
}

fn leaf_sums(range: Segment) -> Vec<f32> {
    let total = reduction::reduce::<MissingShard>(range, &mut |segment| {
        Ok((segment.len() == 1).then(|| lookbehind_common::partial::Partial {
            gradient: shard(segment.first).into(),
            ..Default::default()
        }))
    });
    total.unwrap().gradient.to_vec()
}

#[test]
fn any_cover_of_the_shards_gives_the_same_bytes() {
    let memory = FlatBufferPool::new(0);
    let root = Segment::root(7);
    let covers: [&[(u32, u32)]; 4] = [
        &[(0, 7)],
        &[(0, 4), (4, 7)],
        &[(0, 2), (2, 4), (4, 6), (6, 7)],
        // Parts of a segment that is here as a whole are not added again.
        &[(0, 4), (0, 2), (2, 3), (4, 6), (6, 7), (4, 5)],
    ];
    for cover in covers {
        // Each of the first four parts in turn is this worker's own.
        for own in 0..4 {
            let parts = cover.iter().map(|(first, end)| segment(*first, *end)).enumerate();
            let parts = parts.map(|(number, covered)| (covered, part(&leaf_sums(covered), number != own)));
            let mut parts: BTreeMap<_, _> = parts.collect();
            let (sum, used) = sum(root, &mut parts, &memory).unwrap();
            assert_eq!(sum.to_vec(), leaf_sums(root), "{cover:?}");
            assert_eq!(used.iter().map(|(segment, _)| segment.len()).sum::<u32>(), 7, "{cover:?}");
        }
    }
}

#[test]
fn nothing_is_added_while_a_shard_is_missing() {
    let mut parts = BTreeMap::from([
        (segment(0, 4), part(&leaf_sums(segment(0, 4)), true)),
        (segment(4, 6), part(&leaf_sums(segment(4, 6)), true)),
    ]);
    assert!(sum(Segment::root(7), &mut parts, &FlatBufferPool::new(0)).is_none());
    assert_eq!(parts.len(), 2, "they are still there when the last part comes");
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
