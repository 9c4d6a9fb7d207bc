use std::collections::BTreeMap;

use super::*;

fn segment(first: u32, end: u32) -> Segment {
    Segment { first, end }
}

fn comparisons(shards: &[u32]) -> Comparisons {
    Comparisons::of(shards.iter().copied().collect())
}

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const C: SessionId = SessionId(3);

#[test]
fn a_segment_with_a_drawn_shard_waits_for_two_equal_deliveries() {
    let mut open = comparisons(&[5]);
    open.begin(A, &[segment(0, 4), segment(4, 6)]);
    assert_eq!(open.lacking(), [(segment(4, 6), BTreeSet::from([A]))]);
    open.add_second(segment(4, 6), B);
    assert!(open.lacking().is_empty());
    assert_eq!(open.deliver(segment(0, 4), A, 1), Ok(()), "not compared");
    assert_eq!(open.deliver(segment(4, 6), B, 7), Ok(()));
    assert!(!open.are_done());
    assert_eq!(open.deliver(segment(4, 6), A, 7), Ok(()));
    assert!(open.are_done());
    assert_eq!(open.outcome(), (2, 0));
}

#[test]
fn another_checksum_names_the_worker_that_delivered_before() {
    let mut open = comparisons(&[0]);
    open.begin(A, &[segment(0, 2)]);
    open.add_second(segment(0, 2), B);
    assert_eq!(open.deliver(segment(0, 2), A, 7), Ok(()));
    assert_eq!(open.deliver(segment(0, 2), B, 8), Err(A));
}

#[test]
fn a_lost_worker_is_replaced_and_one_that_held_all_is_forgotten() {
    let mut open = comparisons(&[0, 2]);
    open.begin(A, &[segment(0, 2), segment(2, 4)]);
    open.add_second(segment(0, 2), B);
    open.give_up(A);
    // The other worker still computes the first segment; the shards of the second one are assigned anew.
    assert_eq!(open.lacking(), [(segment(0, 2), BTreeSet::from([B]))]);
    open.begin(C, &[segment(2, 3), segment(3, 4)]);
    assert_eq!(open.lacking().len(), 2);
}

#[test]
fn who_is_late_is_not_waited_for() {
    let mut open = comparisons(&[0, 2]);
    open.begin(A, &[segment(0, 2), segment(2, 4)]);
    open.add_second(segment(0, 2), B);
    open.add_second(segment(2, 4), B);
    assert_eq!(open.deliver(segment(0, 2), A, 7), Ok(()));
    assert_eq!(open.late(|session| session == B), [segment(0, 2)]);
    open.stop_waiting(segment(0, 2));
    assert_eq!(open.lacking(), [(segment(0, 2), BTreeSet::from([A]))]);
    open.abandon(segment(0, 2));
    open.stop_waiting(segment(2, 4));
    assert!(open.are_done());
    assert_eq!(open.outcome(), (0, 4));
}

#[test]
fn the_draws_of_an_outer_step_have_the_number_of_the_job_and_depend_on_the_key() {
    let mut file = lookbehind_common::job::JobFile { name: "test".into(), ..Default::default() };
    file.model.kind = "toy".into();
    file.data.kind = "toy".into();
    file.train.batch_size = 64;
    file.train.epochs = Some(1);
    file.resources.verify = Some(3);
    let spec = file.validate().unwrap();
    let requests = requests_per_outer_step(&spec.optimizer.method) as u32;
    let of_step = |key, outer_step| -> Vec<(u32, u32)> {
        let of_request =
            |index| drawn(key, &spec, outer_step, index, 64).into_iter().map(move |shard| (index, shard));
        (0..requests).flat_map(of_request).collect()
    };
    let mut counts = BTreeMap::new();
    for outer_step in 0..1000 {
        let draws = of_step(1, outer_step);
        assert!((1..=3).contains(&draws.len()) && draws.iter().all(|(_, shard)| *shard < 64));
        assert_eq!(draws, of_step(1, outer_step));
        draws.into_iter().for_each(|(_, shard)| *counts.entry(shard).or_insert(0) += 1);
    }
    assert_eq!(counts.len(), 64, "every shard may be drawn");
    assert!((0..100).any(|outer_step| of_step(1, outer_step) != of_step(2, outer_step)));
}
