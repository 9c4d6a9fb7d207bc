//! Tests of the reduction tree: the same bits for every assignment of shards.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::partial::Sums;

fn segment(first: u32, end: u32) -> Segment {
    Segment { first, end }
}

/// All segments of the tree over some shards, found from the root down.
fn tree(shards: u32) -> Vec<Segment> {
    let mut segments = vec![Segment::root(shards)];
    let mut next = 0;
    while let Some(segment) = segments.get(next) {
        segments.extend(segment.children().map(|(left, right)| [left, right]).into_iter().flatten());
        next += 1;
    }
    segments
}

/// The partial of one shard, with values whose sum depends on the order of the additions.
fn partial(shard: u32) -> Partial {
    let number = |i: u32| {
        let mixed = (shard * 31 + i).wrapping_mul(0x9E37_79B9);
        f32::from_bits(0x3F80_0000 | (mixed >> 9)) * if mixed & 1 == 0 { 1e-3 } else { -1e4 }
    };
    Partial {
        gradient: (0..5).map(number).collect::<Vec<_>>().into(),
        statistics: (5..7).map(number).collect::<Vec<_>>().into(),
        sums: Sums { loss: f64::from(number(9)) / 3.0, correct: u64::from(shard), samples: 3, visits: None },
    }
}

const FORMATS: [ExchangeFormat; 2] = [ExchangeFormat::F32, ExchangeFormat::Bf16];

fn sum_from_shards(segment: Segment, format: ExchangeFormat) -> Partial {
    let rounded = |shard| {
        let mut partial = partial(shard);
        format.round(&mut partial.gradient).expect("small values");
        partial
    };
    let mut part =
        |segment: Segment| Ok::<_, MissingShard>((segment.len() == 1).then(|| rounded(segment.first)));
    reduce(segment, format, &mut part).expect("all shards")
}

#[test]
fn a_segment_is_cut_at_the_largest_power_of_two_below_its_length() {
    for (shards, middle) in [(2, 1), (3, 2), (4, 2), (5, 4), (6, 4), (7, 4), (8, 4), (9, 8), (4096, 2048)] {
        let cut = (segment(10, 10 + middle), segment(10 + middle, 10 + shards));
        assert_eq!(segment(10, 10 + shards).children(), Some(cut));
    }
    assert_eq!(segment(3, 4).children(), None);
}

#[test]
fn a_range_is_a_segment_of_its_own_exactly_where_the_tree_has_it() {
    for shards in 1..40 {
        let tree = tree(shards);
        assert_eq!(tree.len() as u32, 2 * shards - 1);
        for first in 0..=shards + 1 {
            for end in 0..=shards + 1 {
                let range = segment(first, end);
                let alone = Segment::maximal_within(range, shards) == [range];
                assert_eq!(alone, tree.contains(&range), "{range} of {shards}");
            }
        }
    }
}

#[test]
fn there_are_no_segments_within_an_empty_range_or_tree() {
    for empty in [segment(0, 0), segment(3, 2), segment(u32::MAX, 0)] {
        assert_eq!(Segment::maximal_within(empty, 8), []);
    }
    assert_eq!(Segment::maximal_within(segment(0, 8), 0), []);
}

#[test]
fn the_sum_follows_the_tree_and_not_the_order_of_shards() {
    let [a, b, c] = [0, 1, 2].map(partial);
    let add = |left, right: &Partial| add(left, right, ExchangeFormat::F32);
    let root = |shards| sum_from_shards(Segment::root(shards), ExchangeFormat::F32);
    let expected = add(add(a, &b), &c);
    assert_eq!(root(3), expected);
    let [b, c, d] = [1, 2, 3].map(partial);
    let right_first = add(add(partial(0), &b), &add(c, &d));
    assert_eq!(root(4), right_first);
}

#[test]
fn a_missing_shard_is_named() {
    let mut part =
        |segment: Segment| Ok((segment.len() == 1 && segment.first != 5).then(|| partial(segment.first)));
    assert_eq!(reduce(Segment::root(8), ExchangeFormat::F32, &mut part), Err(MissingShard { shard: 5 }));
}

#[test]
fn maximal_segments_of_nothing_are_none() {
    assert!(Segment::maximal_within(segment(2, 2), 8).is_empty());
    assert!(Segment::maximal_within(segment(5, 2), 8).is_empty());
    assert!(Segment::maximal_within(segment(0, 3), 0).is_empty());
    assert!(Segment::maximal_within(segment(8, 12), 8).is_empty());
}

/// A number of shards, and where they are cut into contiguous ranges.
fn assignments() -> impl Strategy<Value = (u32, Vec<Segment>)> {
    (1_u32..70).prop_flat_map(|shards| {
        let cuts = prop::collection::btree_set(0..shards, 0..12);
        (Just(shards), cuts).prop_map(|(shards, mut cuts)| {
            cuts.extend([0, shards]);
            let cuts: Vec<u32> = cuts.into_iter().collect();
            (shards, cuts.windows(2).map(|range| segment(range[0], range[1])).collect())
        })
    })
}

proptest! {
    #[test]
    fn maximal_segments_cover_a_range_once_and_in_order((shards, ranges) in assignments()) {
        let tree = tree(shards);
        for range in ranges {
            let segments = Segment::maximal_within(range, shards);
            prop_assert_eq!(segments.first().map(|segment| segment.first), Some(range.first));
            prop_assert_eq!(segments.last().map(|segment| segment.end), Some(range.end));
            prop_assert!(segments.windows(2).all(|pair| pair[0].end == pair[1].first));
            for found in segments {
                let larger = |segment: &&Segment| segment.contains(found) && **segment != found && range.contains(**segment);
                prop_assert!(tree.contains(&found));
                prop_assert!(!tree.iter().any(|segment| larger(&segment)), "{} is not maximal", found);
            }
        }
    }

    #[test]
    fn every_assignment_of_ranges_reduces_to_the_same_bits((shards, ranges) in assignments()) {
        for format in FORMATS {
            let partials: Vec<(Segment, Partial)> = ranges
                .iter()
                .flat_map(|range| Segment::maximal_within(*range, shards))
                .map(|segment| (segment, sum_from_shards(segment, format)))
                .collect();
            let mut part = |segment: Segment| {
                let known = partials.iter().find(|(known, _)| *known == segment);
                Ok::<_, MissingShard>(known.map(|(_, partial)| partial.clone()))
            };
            let sum = reduce(Segment::root(shards), format, &mut part).expect("all ranges");
            let mut rounded = sum.clone();
            prop_assert_eq!(format.round(&mut rounded.gradient), Ok(()));
            prop_assert_eq!(&sum, &rounded, "the sum of the whole batch is rounded as well");
            prop_assert_eq!(sum, sum_from_shards(Segment::root(shards), format));
        }
    }

    #[test]
    fn partials_that_overlap_in_any_order_reduce_to_the_same_bits(
        shards in 1_u32..40,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        missing in prop::option::of(any::<prop::sample::Index>()),
        format in prop::sample::select(&FORMATS[..]),
    ) {
        let tree = tree(shards);
        let missing = missing.map(|index| index.index(shards as usize) as u32);
        let is_there = |segment: &Segment| missing.is_none_or(|shard| !(segment.first..segment.end).contains(&shard));
        // Segments of the tree in any order, some twice, and finally each shard alone.
        let picked = picks.iter().map(|pick| tree[pick.index(tree.len())]);
        let mut partials = BTreeMap::new();
        for segment in picked.chain((0..shards).map(|shard| segment(shard, shard + 1))).filter(is_there) {
            partials.insert(segment, sum_from_shards(segment, format));
        }
        let sum = reduce::<MissingShard>(Segment::root(shards), format, &mut |segment| Ok(partials.remove(&segment)));
        match missing {
            None => prop_assert_eq!(sum, Ok(sum_from_shards(Segment::root(shards), format))),
            Some(shard) => prop_assert_eq!(sum, Err(MissingShard { shard })),
        }
    }

    #[test]
    fn shards_cover_each_sample_once_and_differ_by_at_most_one(samples in 1_u64..5000, shards in 1_u32..200) {
        let shards = effective_shards(samples, shards);
        let mut next = 0;
        let mut sizes = Vec::new();
        for shard in 0..shards {
            let range = shard_range(samples, shards, shard);
            prop_assert_eq!(range.start, next);
            prop_assert!(!range.is_empty());
            sizes.push(range.end - range.start);
            next = range.end;
        }
        prop_assert_eq!(next, samples);
        prop_assert!(sizes.is_sorted_by(|a, b| a >= b), "the first ones are the longer ones");
        prop_assert!(sizes[0] - sizes[sizes.len() - 1] <= 1);
    }
}
