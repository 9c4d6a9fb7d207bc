use lookbehind_common::ids::JobId;
use lookbehind_common::partial::Sums;

use super::*;
use crate::state::command::RequestKind;

fn segment(first: u32, end: u32) -> Segment {
    Segment { first, end }
}

fn worth(samples: u64) -> Partial {
    Partial { sums: Sums { samples, ..Sums::default() }, ..Partial::default() }
}

fn request() -> Request {
    let id = RequestId { job: JobId::from_entropy(1), outer_step: 0, index: 0 };
    let coordinates =
        Coordinates { kind: RequestKind::Gradient { epoch: 0, batch: 0 }, samples: 8, shards: 8 };
    Request::new(id, coordinates, 1, Duration::ZERO, Comparisons::default())
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);

/// This many seconds of computing, none of waiting for data.
fn busy(compute: f64) -> Busy {
    Busy { compute, data: 0.0 }
}

#[test]
fn an_ancestor_supersedes_its_descendants() {
    let mut request = request();
    assert_eq!(request.accept(segment(0, 2), worth(2), 1, A), Acceptance::Accepted);
    assert_eq!(request.accept(segment(0, 4), worth(4), 2, B), Acceptance::Accepted);
    assert_eq!(request.accept(segment(4, 8), worth(4), 3, B), Acceptance::Accepted);
    assert!(request.is_complete());
    let (parts, _) = request.into_parts();
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [segment(0, 4), segment(4, 8)]);
}

#[test]
fn what_is_below_a_filled_segment_is_a_duplicate() {
    let mut request = request();
    request.accept(segment(0, 4), worth(4), 1, A);
    assert_eq!(request.accept(segment(2, 4), worth(2), 9, B), Acceptance::Duplicate);
    assert_eq!(request.accept(segment(0, 4), worth(4), 1, B), Acceptance::Duplicate);
    assert!(!request.is_complete());
}

#[test]
fn other_bytes_for_a_filled_segment_are_a_conflict_with_its_worker() {
    let mut request = request();
    request.accept(segment(0, 4), worth(4), 1, A);
    assert_eq!(request.accept(segment(0, 4), worth(4), 2, B), Acceptance::Conflict(A));
}

#[test]
fn segments_of_a_lost_worker_are_unassigned_again_unless_another_worker_has_them() {
    let mut request = request();
    request.assign(A, &[segment(0, 4), segment(4, 6)], at(0));
    request.assign(B, &[segment(6, 8), segment(4, 6)], at(0));
    assert!(request.unassigned().is_empty());
    request.accept(segment(0, 2), worth(2), 1, B);
    request.withdraw(A, Duration::ZERO);
    assert_eq!(request.unassigned(), [segment(2, 4)]);
}

#[test]
fn late_shards_are_those_that_are_assigned_to_late_workers_only() {
    let mut request = request();
    request.assign(A, &[segment(0, 4), segment(4, 6)], at(1));
    request.assign(B, &[segment(6, 8)], at(2));
    let older_than_b = |_, since: Duration, _| since < at(2);
    assert_eq!(request.late(older_than_b), [segment(0, 6)]);
    request.accept(segment(0, 2), worth(2), 1, B);
    request.assign(B, &[segment(4, 5)], at(3));
    assert_eq!(request.late(older_than_b), [segment(2, 4), segment(5, 6)]);
    assert_eq!(request.late(|_, _, shards| shards > 6), []);
}

#[test]
fn a_delivery_is_a_sign_of_progress() {
    let mut request = request();
    request.assign(A, &[segment(0, 4), segment(4, 8)], at(0));
    assert!(!request.has_delivered(A) && !request.is_idle(A) && request.is_idle(B));
    request.note_done(A, segment(0, 4), busy(1.0), at(5)).unwrap();
    assert!(request.has_delivered(A) && !request.is_idle(A));
    assert_eq!(request.late(|_, since, _| since < at(5)), []);
}

#[test]
fn a_worker_is_measured_from_being_asked_to_its_last_delivery() {
    let mut request = request();
    request.assign(A, &[segment(0, 4), segment(4, 6)], at(1));
    assert_eq!(request.note_done(A, segment(4, 6), busy(0.5), at(2)), Ok(None));
    request.assign(A, &[segment(6, 8)], at(3));
    assert_eq!(request.note_done(A, segment(0, 4), busy(0.5), at(4)), Ok(None));
    assert_eq!(
        request.note_done(A, segment(6, 8), busy(0.5), at(9)),
        Ok(Some(Done { shards: 8, seconds: 8.0, computing: 1.5 }))
    );
    request.assign(A, &[segment(0, 2)], at(20));
    assert_eq!(
        request.note_done(A, segment(0, 2), busy(0.5), at(21)),
        Ok(Some(Done { shards: 2, seconds: 1.0, computing: 0.5 }))
    );
}

#[test]
fn the_busiest_worker_is_the_one_that_computed_and_waited_for_data_longest() {
    let mut request = request();
    request.assign(A, &[segment(0, 4)], at(0));
    request.assign(B, &[segment(4, 8)], at(0));
    request.note_done(A, segment(0, 4), busy(2.0), at(2)).unwrap();
    request.note_done(B, segment(4, 8), Busy { compute: 1.0, data: 1.5 }, at(3)).unwrap();
    assert_eq!(request.busiest(), Busy { compute: 1.0, data: 1.5 });
}

#[test]
fn the_time_of_a_worker_begins_when_it_need_not_wait_for_the_weights_any_more() {
    let mut request = request();
    request.assign(A, &[segment(0, 2)], at(1));
    request.note_download(A);
    request.excuse_waiting(A, at(5));
    assert_eq!(request.open_assignment(A), Some((at(5), 2)));
    let done = request.note_done(A, segment(0, 2), busy(1.0), at(8)).unwrap();
    assert_eq!(done, Some(Done { shards: 2, seconds: 3.0, computing: 1.0 }));
}

#[test]
fn a_worker_that_asks_for_the_weights_again_and_again_is_not_excused_for_ever() {
    let mut request = request();
    request.assign(A, &[segment(0, 2)], at(0));
    for attempt in 1..=10 {
        request.note_download(A);
        request.excuse_waiting(A, at(attempt));
    }
    assert_eq!(request.open_assignment(A), Some((at(3), 2)));
}

#[test]
fn waiting_of_a_worker_without_an_assignment_changes_nothing() {
    let mut request = request();
    request.note_download(A);
    request.excuse_waiting(A, at(1));
    assert_eq!(request.open_assignment(A), None);
    assert!(request.is_idle(A));
}
