use std::sync::atomic::{AtomicU32, Ordering};

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::partial::Sums;

use super::*;

/// A partial that identifies its shard: adding the floats in another order gives other bits.
fn partial(shard: u32) -> Partial {
    let sums =
        Sums { loss: 0.1 + f64::from(shard).powi(3) / 7.0, correct: 1 << shard, samples: 1, visits: None };
    let gradient = vec![0.1 + (shard as f32).powi(3) / 7.0; 2].into();
    Partial { gradient, sums, ..Partial::default() }
}

fn rounding(format: ExchangeFormat) -> Rounding {
    let tensor = TensorSpec { name: "weight".into(), shape: vec![2], kind: TensorKind::Parameter };
    Rounding::new(format, Layout::new([tensor]).unwrap(), "toy")
}

fn unrounded() -> Rounding {
    rounding(ExchangeFormat::F32)
}

/// The sum by the definition: a segment is the sum of its children.
fn defined(segment: Segment, format: ExchangeFormat) -> Partial {
    let mut sum = match segment.children() {
        Some((left, right)) => {
            let (left, right) = (defined(left, format), defined(right, format));
            lookbehind_common::reduction::add(left, &right, ExchangeFormat::F32)
        }
        None => partial(segment.first),
    };
    format.round(&mut sum.gradient).unwrap();
    sum
}

#[test]
fn a_segment_is_the_canonical_sum_whatever_the_groups() {
    let segment = Segment { first: 4, end: 15 };
    let groups = [0, 1, 2, 3, 7, 11, 12, usize::MAX];
    let formats = [ExchangeFormat::F32, ExchangeFormat::Bf16];
    for (group, format) in groups.into_iter().flat_map(|group| formats.map(|format| (group, format))) {
        let mut asked = Vec::new();
        let sum = reduce_shards(segment, group, &rounding(format), &Unwatched, |shards| {
            asked.push(shards.clone());
            Ok(shards.map(partial).collect())
        });
        assert_eq!(sum.unwrap(), defined(segment, format), "groups of {group}, {format:?}");
        assert!(asked.iter().all(|shards| shards.len() <= group.max(1)), "{asked:?}");
        assert!(asked.into_iter().flatten().eq(4..15), "groups of {group}: each shard once, in order");
    }
}

#[test]
fn another_number_of_partials_than_of_shards_fails_and_is_never_added() {
    for (given, group) in [(0, 1), (2, 1), (3, 4), (5, 4)] {
        let segment = Segment::root(4);
        let sum = reduce_shards(segment, group, &unrounded(), &Unwatched, |_| {
            Ok((0..given).map(partial).collect())
        });
        let Err(Stopped::Failed(error)) = sum else { panic!("{given} partials were taken for {group}") };
        assert!(error.to_string().starts_with(&format!("internal error: {given} partials")), "{error}");
    }
}

#[test]
fn a_segment_that_is_superseded_is_left_before_the_next_group() {
    /// Is superseded after a number of queries.
    struct After(AtomicU32);
    impl Watch for After {
        fn advance(&self) {}

        fn is_superseded(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
        }
    }
    let mut computed = 0;
    let sum = reduce_shards(Segment::root(8), 2, &unrounded(), &After(AtomicU32::new(3)), |shards| {
        computed += shards.len();
        Ok(shards.map(partial).collect())
    });
    assert!(matches!(sum, Err(Stopped::Superseded)));
    assert_eq!(computed, 6);
}
