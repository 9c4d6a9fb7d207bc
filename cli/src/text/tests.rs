use super::*;

#[test]
fn only_ends_are_over() {
    use v1::JobState::{Cancelled, Failed, Paused, Preparing, Queued, Running, Succeeded};
    assert!([Succeeded, Failed, Cancelled].into_iter().all(is_over));
    assert!(![Queued, Preparing, Running, Paused].into_iter().any(is_over));
}
