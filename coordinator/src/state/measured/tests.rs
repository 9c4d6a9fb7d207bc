use super::*;

#[test]
fn computing_and_moving_are_measured_apart() {
    let mut measured = Measured::default();
    measured.note(4, 10.0, 2.0);
    assert_eq!(measured.seconds_per_shard(), Some(0.5));
    assert_eq!(measured.expected(8), Some(4.0 + 8.0));
    assert_eq!(measured.expected_per_shard(0.5), Some(0.5));
}

#[test]
fn nobody_computes_for_longer_than_it_took() {
    let mut measured = Measured::default();
    measured.note(2, 1.0, 1e9);
    assert_eq!((measured.seconds_per_shard(), measured.moving()), (Some(0.5), Some(0.0)));
}

#[test]
fn a_worker_that_measured_badly_once_is_tried_again_and_then_measured_anew() {
    let mut measured = Measured::default();
    measured.note(1, 100.0, 100.0);
    let requests_until = |measured: &mut Measured, seconds: f64| {
        (0..100_000)
            .take_while(|_| {
                let is_slower = measured.expected_per_shard(1.0).is_some_and(|expected| expected > seconds);
                measured.note_without_shards();
                is_slower
            })
            .count()
    };
    let first = requests_until(&mut measured, 8.0);
    assert!((20..50).contains(&first), "{first} requests");
    measured.note(1, 100.0, 100.0);
    let second = requests_until(&mut measured, 8.0);
    assert!(second >= 2 * first - 2, "it was no faster: {first}, then {second} requests");
    measured.note(1, 1.0, 1.0);
    assert_eq!(measured.seconds_per_shard(), Some(1.0), "the earlier measurement is forgotten");
}

#[test]
fn only_a_link_that_is_much_slower_counts_as_slow() {
    let mut measured = Measured::default();
    measured.note(1, 3.0, 0.0);
    assert_eq!(measured.link(2.0), 1.0);
    assert_eq!(measured.link(0.3), 10.0);
}

#[test]
fn the_share_of_a_slow_owner_shrinks_and_recovers() {
    let mut measured = Measured::default();
    measured.note_range(Some(1.0));
    assert_eq!(measured.share(), 1.0);
    (0..4).for_each(|_| measured.note_range(Some(10.0)));
    assert_eq!(measured.share(), 1.0 / 16.0);
    (0..100).for_each(|_| measured.note_range(None));
    assert_eq!(measured.share(), 1.0);
}

#[test]
fn the_median_of_two_is_the_lower_one() {
    assert_eq!(median([3.0, 1.0].into_iter()), Some(1.0));
    assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
    assert_eq!(median(std::iter::empty()), None);
}
