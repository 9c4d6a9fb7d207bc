use std::sync::atomic::{AtomicU32, Ordering};

use lookbehind_common::partial::Sums;

use super::*;

/// A partial that identifies its shard: adding the floats in another order gives other bits.
fn partial(shard: u32) -> Partial {
    let sums =
        Sums { loss: 0.1 + f64::from(shard).powi(3) / 7.0, correct: 1 << shard, samples: 1, visits: None };
    Partial { sums, ..Partial::default() }
}

/// The sum by the definition: a segment is the sum of its children.
fn defined(segment: Segment) -> Partial {
    match segment.children() {
        Some((left, right)) => lookbehind_common::reduction::add(defined(left), &defined(right)),
        None => partial(segment.first),
    }
}

#[test]
fn a_segment_is_the_canonical_sum_whatever_the_groups() {
    let segment = Segment { first: 4, end: 15 };
    for group in [0, 1, 2, 3, 7, 11, 12, usize::MAX] {
        let mut asked = Vec::new();
        let sum = reduce_shards(segment, group, &Unwatched, |shards| {
            asked.push(shards.clone());
            Ok(shards.map(partial).collect())
        });
        assert_eq!(sum.unwrap(), defined(segment), "groups of {group}");
        assert!(asked.iter().all(|shards| shards.len() <= group.max(1)), "{asked:?}");
        assert!(asked.into_iter().flatten().eq(4..15), "groups of {group}: each shard once, in order");
    }
}

#[test]
fn another_number_of_partials_than_of_shards_fails_and_is_never_added() {
    for (given, group) in [(0, 1), (2, 1), (3, 4), (5, 4)] {
        let segment = Segment::root(4);
        let sum = reduce_shards(segment, group, &Unwatched, |_| Ok((0..given).map(partial).collect()));
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
    let sum = reduce_shards(Segment::root(8), 2, &After(AtomicU32::new(3)), |shards| {
        computed += shards.len();
        Ok(shards.map(partial).collect())
    });
    assert!(matches!(sum, Err(Stopped::Superseded)));
    assert_eq!(computed, 6);
}
