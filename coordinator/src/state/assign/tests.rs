use proptest::prelude::*;

use super::*;

fn candidates(seconds: &[Option<f64>]) -> Vec<Candidate> {
    let candidate = |(index, seconds_per_shard): (usize, &Option<f64>)| Candidate {
        session: SessionId(index as u64 + 1),
        seconds_per_shard: *seconds_per_shard,
    };
    seconds.iter().enumerate().map(candidate).collect()
}

fn shards_of(assigned: &[(SessionId, Vec<Segment>)]) -> Vec<u32> {
    assigned.iter().map(|(_, segments)| segments.iter().map(|segment| segment.len()).sum()).collect()
}

#[test]
fn equal_workers_get_equal_ranges() {
    let assigned = divide(Segment::root(8), 8, &candidates(&[None, None]));
    assert_eq!(shards_of(&assigned), [4, 4]);
    assert_eq!(assigned[0].1, [Segment { first: 0, end: 4 }], "a worker's whole range is one partial");
}

#[test]
fn small_differences_in_speed_change_nothing() {
    let assigned = divide(Segment::root(8), 8, &candidates(&[Some(0.010), Some(0.012)]));
    assert_eq!(shards_of(&assigned), [4, 4]);
}

#[test]
fn a_worker_of_a_third_of_the_speed_gets_a_third_of_the_shards() {
    let assigned = divide(Segment::root(8), 8, &candidates(&[Some(0.01), Some(0.03)]));
    assert_eq!(shards_of(&assigned), [6, 2]);
}

#[test]
fn more_workers_than_shards_leave_some_without() {
    let assigned = divide(Segment::root(2), 2, &candidates(&[None; 5]));
    assert_eq!(shards_of(&assigned).iter().sum::<u32>(), 2);
    assert!(assigned.iter().all(|(_, segments)| !segments.is_empty()));
}

/// Measured and missing speeds, among them extreme values as from a broken clock.
fn any_seconds() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![8 => prop::option::of(0.0001_f64..10.0), 1 => Just(Some(0.0)), 1 => Just(Some(1e300)), 1 => Just(Some(1e-300))]
}

proptest! {
    #[test]
    fn shares_follow_the_speeds_and_are_ranges_in_order(
        shards in 1_u32..400, seconds in prop::collection::vec(any_seconds(), 1..12),
    ) {
        let candidates = candidates(&seconds);
        let assigned = divide(Segment::root(shards), shards, &candidates);
        let speeds = relative_speeds(&candidates);
        let total: f64 = speeds.iter().sum();
        for (candidate, speed) in candidates.iter().zip(&speeds) {
            let given: Vec<_> = assigned.iter().filter(|(session, _)| *session == candidate.session).collect();
            prop_assert!(given.len() <= 1, "a worker is named once");
            let share: u32 = given.iter().flat_map(|(_, segments)| segments).map(|segment| segment.len()).sum();
            let fair = f64::from(shards) * speed / total;
            prop_assert!((f64::from(share) - fair).abs() <= 1.0, "{share} shards, {fair} by the speeds");
        }
        let segments: Vec<Segment> = assigned.into_iter().flat_map(|(_, segments)| segments).collect();
        prop_assert!(segments.windows(2).all(|pair| pair[0].end == pair[1].first));
    }

    #[test]
    fn every_shard_is_given_to_exactly_one_worker(
        shards in 1_u32..200,
        seconds in prop::collection::vec(any_seconds(), 1..12),
        cut in (0.0_f64..1.0, 0.0_f64..1.0),
    ) {
        let first = (f64::from(shards) * cut.0.min(cut.1)) as u32;
        let end = ((f64::from(shards) * cut.0.max(cut.1)) as u32 + 1).min(shards);
        let assigned = divide(Segment { first, end }, shards, &candidates(&seconds));
        let mut given: Vec<u32> = assigned
            .iter()
            .flat_map(|(_, segments)| segments.iter().flat_map(|segment| segment.first..segment.end))
            .collect();
        given.sort_unstable();
        prop_assert_eq!(given, (first..end).collect::<Vec<_>>());
        for segment in assigned.iter().flat_map(|(_, segments)| segments) {
            prop_assert_eq!(&Segment::maximal_within(*segment, shards)[..], &[*segment], "a segment of the tree");
        }
    }
}
