use lookbehind_common::reduction;

use super::*;

/// A part with values, as it is sent; every second one was computed here.
fn part(values: &[f32], format: ExchangeFormat, number: usize) -> Part {
    let bytes = Bytes::from(format.bytes_of(values).into_owned());
    let digest = BlockDigest::of(&bytes);
    let values = if number.is_multiple_of(2) {
        Values::Own(bytes)
    } else {
        Values::Fetched(format.values_of(&bytes).into_owned().into())
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

fn leaf_sums(range: Segment, format: ExchangeFormat) -> Vec<f32> {
    let total = reduction::reduce::<MissingShard>(range, format, &mut |segment| {
        Ok((segment.len() == 1).then(|| {
            let mut gradient = shard(segment.first);
            format.round(&mut gradient).unwrap();
            lookbehind_common::partial::Partial { gradient: gradient.into(), ..Default::default() }
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
    for format in [ExchangeFormat::F32, ExchangeFormat::Bf16] {
        for cover in covers {
            let segments = cover.iter().map(|(first, end)| segment(*first, *end)).enumerate();
            let of = |(number, segment)| (segment, part(&leaf_sums(segment, format), format, number));
            let mut parts: BTreeMap<_, _> = segments.map(of).collect();
            let (sum, used) = sum(root, &mut parts, format, &memory).unwrap();
            assert_eq!(sum.to_vec(), leaf_sums(root, format), "{cover:?}");
            assert_eq!(used.iter().map(|(segment, _)| segment.len()).sum::<u32>(), 7, "{cover:?}");
        }
    }
}

#[test]
fn nothing_is_added_while_a_shard_is_missing() {
    let format = ExchangeFormat::F32;
    let mut parts = BTreeMap::from([
        (segment(0, 4), part(&leaf_sums(segment(0, 4), format), format, 0)),
        (segment(4, 6), part(&leaf_sums(segment(4, 6), format), format, 1)),
    ]);
    assert!(sum(Segment::root(7), &mut parts, format, &FlatBufferPool::new(0)).is_none());
    assert_eq!(parts.len(), 2, "they are added when the rest is here");
}
