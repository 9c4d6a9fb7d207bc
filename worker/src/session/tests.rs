use super::*;

fn unaccepted() -> Ended {
    Ended::Unaccepted { reason: "the token is not known here".to_owned() }
}

#[test]
fn a_worker_whose_credentials_were_never_accepted_ends_and_one_that_was_registered_waits_for_new_ones() {
    let refused = Attempts::default().wait_after("w", unaccepted(), Reached::Nothing);
    assert!(matches!(refused, Err(WorkerError::Refused { .. })), "{refused:?}");
    let mut attempts = Attempts::default();
    attempts.wait_after("w", Ended::lost("the stream is closed"), Reached::Registered).unwrap();
    assert!(attempts.wait_after("w", unaccepted(), Reached::Nothing).unwrap().is_some());
}

#[test]
fn waits_grow_until_a_session_works() {
    let mut attempts = Attempts::default();
    let mut wait = |reached| attempts.wait_after("w", Ended::lost("gone"), reached).unwrap().unwrap();
    let first = wait(Reached::Nothing);
    let grown: Vec<Duration> = (0..8).map(|_| wait(Reached::Registered)).collect();
    assert!(grown.is_sorted() && grown[0] > first && grown[7] > first * 10, "{grown:?}");
    assert_eq!(wait(Reached::Worked), first);
}
