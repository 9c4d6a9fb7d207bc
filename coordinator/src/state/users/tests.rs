//! What is kept of jobs, how it is found again, and its limits.

use super::*;
use crate::state::tests::{Desk, spec, submission};
use crate::state::{JobFilter, JobQuery};

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

fn admin() -> Caller {
    Caller::Admin("root".into())
}

/// A job that a caller has created and cancelled.
fn ended(desk: &mut Desk, caller: &Caller, request_id: &str) -> JobId {
    let id = desk.create(caller, request_id, spec("", None)).expect("room for a job");
    desk.cancel(caller, &id).expect("a job that has not ended");
    id
}

/// The numbers of the jobs in a caller's list, in pages of `count`.
fn listed(desk: &mut Desk, caller: &Caller, count: usize) -> Vec<u64> {
    let (mut numbers, mut from) = (Vec::new(), None);
    loop {
        let query = JobQuery { filter: JobFilter::default(), count, from, specs: true };
        let Reply::Jobs(page, next) = desk.ask(caller, UserCall::List(query)) else {
            panic!("expected a page of jobs");
        };
        assert!(!page.is_empty() && page.len() <= count || next.is_none());
        numbers.extend(page.into_iter().map(|view| view.record.number));
        from = next;
        if next.is_none() {
            return numbers;
        }
    }
}

#[test]
fn of_a_job_that_has_ended_only_its_record_is_kept_in_memory() {
    let mut desk = Desk::new(|_| ());
    for number in 0..20 {
        ended(&mut desk, &user("alice"), &format!("{number}"));
        assert!(desk.core.jobs.is_empty(), "events walk only over jobs that have not ended");
    }
    assert_eq!(listed(&mut desk, &user("alice"), 7), (1..=20).rev().collect::<Vec<_>>());
    desk.restart();
    assert!(desk.core.jobs.is_empty());
    assert_eq!(listed(&mut desk, &user("alice"), 50), (1..=20).rev().collect::<Vec<_>>());
}

#[test]
fn lists_hold_the_callers_jobs_first_those_that_have_not_ended_each_newest_first() {
    let mut desk = Desk::new(|_| ());
    for number in 0..9 {
        let caller = user(if number % 3 == 0 { "alice" } else { "bob" });
        match number % 2 {
            0 => drop(ended(&mut desk, &caller, &format!("{number}"))),
            _ => drop(desk.create(&caller, &format!("{number}"), spec("", None)).expect("room for a job")),
        }
    }
    for _ in 0..2 {
        for count in 1..=9 {
            assert_eq!(listed(&mut desk, &user("alice"), count), [4, 7, 1]);
            assert_eq!(listed(&mut desk, &user("bob"), count), [8, 6, 2, 9, 5, 3]);
            assert_eq!(listed(&mut desk, &admin(), count), [8, 6, 4, 2, 9, 7, 5, 3, 1]);
            assert_eq!(listed(&mut desk, &user("carol"), count), [0_u64; 0]);
        }
        desk.restart();
    }
}

#[test]
fn a_retried_creation_returns_the_job_also_when_it_has_ended_and_until_it_is_deleted() {
    let mut desk = Desk::new(|_| ());
    let alice = user("alice");
    let id = ended(&mut desk, &alice, "one");
    for _ in 0..2 {
        assert_eq!(desk.create(&alice, "one", spec("", None)), Ok(id.clone()));
        let other = desk.create(&alice, "one", spec("other", None));
        assert_eq!(other, Err(CallError::RequestReused("one".into())));
        desk.restart();
    }
    desk.delete(&alice, &id).expect("a job that has ended");
    assert!(desk.create(&alice, "one", spec("other", None)).is_ok());
}

#[test]
fn only_a_job_that_has_ended_can_be_deleted_and_only_by_its_owner_or_an_admin() {
    let mut desk = Desk::new(|_| ());
    let (alice, bob) = (user("alice"), user("bob"));
    let id = desk.create(&alice, "one", spec("", None)).expect("room for a job");
    let refused = desk.delete(&alice, &id).expect_err("the job is queued");
    assert_eq!(refused.to_string(), format!("job {id}: cannot delete a job that is queued; cancel it first"));
    let missing = CallError::NotFound(id.clone());
    assert_eq!(desk.delete(&bob, &id), Err(missing.clone()));
    desk.cancel(&alice, &id).expect("a job that has not ended");
    assert_eq!(desk.delete(&bob, &id), Err(missing.clone()));
    assert_eq!(desk.cancel(&alice, &id), Ok(JobState::Cancelled), "again");
    let paused = desk.ask(&alice, UserCall::Pause(id.clone()));
    assert!(matches!(paused, Reply::Job(result) if matches!(*result, Err(CallError::WrongState { .. }))));
    desk.delete(&admin(), &id).expect("a job that has ended");
    assert_eq!(desk.delete(&alice, &id), Err(missing.clone()));
    assert_eq!(desk.cancel(&alice, &id), Err(missing));
    desk.restart();
    assert_eq!(listed(&mut desk, &admin(), 9), [0_u64; 0]);
}

#[test]
fn an_identity_that_is_drawn_again_goes_to_no_second_job() {
    let mut desk = Desk::new(|_| ());
    let mut create = |request_id: &str, cancel: bool| {
        let (request_id, submission) = (request_id.into(), submission(&spec("", None)));
        let call = UserCall::Create { request_id, submission, initial_checkpoint: Ok(None), entropy: 7 };
        let Reply::Job(created) = desk.ask(&admin(), call) else { panic!("expected a job") };
        let id = created.expect("room for a job").record.id;
        if cancel {
            desk.cancel(&admin(), &id).expect("a job that has not ended");
        }
        id
    };
    let ids = [create("one", true), create("two", false), create("three", false)];
    assert_eq!(ids[0], JobId::from_entropy(7));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    assert_eq!(listed(&mut desk, &admin(), 9), [3, 2, 1], "the cancelled one last");
}

#[test]
fn one_user_gets_a_quarter_of_the_queue_and_no_users_keep_an_administrator_out() {
    let mut desk = Desk::new(|config| config.max_queued_jobs = 8);
    let mut queue = |caller: &Caller| {
        let mut count = 0;
        loop {
            match desk.create(caller, &format!("{count}"), spec("", None)) {
                Ok(_) => count += 1,
                Err(refused) => return (count, refused.to_string()),
            }
        }
    };
    let of_one = "queued jobs of one user: the limit of 2 is reached";
    for name in ["alice", "bob", "carol", "dave"] {
        assert_eq!(queue(&user(name)), (2, of_one.to_owned()), "{name}");
    }
    let of_all = "queued jobs of all users together: the limit of 8 is reached";
    assert_eq!(queue(&user("eve")), (0, of_all.to_owned()));
    let whole = "queued jobs of all users and administrators together: the limit of 16 is reached";
    assert_eq!(queue(&admin()), (8, whole.to_owned()));
}

#[test]
fn the_number_of_kept_jobs_is_limited_and_the_refusal_says_how_to_make_room() {
    let mut desk = Desk::new(|config| config.keep.jobs = 8);
    let first = ended(&mut desk, &user("alice"), "one");
    ended(&mut desk, &user("alice"), "two");
    let refused = desk.create(&user("alice"), "three", spec("", None)).expect_err("a quarter is used");
    assert_eq!(
        refused.to_string(),
        "kept jobs: 2 of the 2 that one user may have are in use; delete jobs that have ended, with `lookbehind delete \
         ID...` or DeleteJob"
    );
    assert!(desk.create(&user("alice"), "one", spec("", None)).is_ok(), "a retry needs no room");
    for name in ["bob", "carol", "dave"] {
        ended(&mut desk, &user(name), "one");
        ended(&mut desk, &user(name), "two");
    }
    let refused = desk.create(&admin(), "one", spec("", None)).expect_err("all is used");
    assert!(refused.to_string().contains("8 of the 8 that all users together"), "{refused}");
    desk.restart();
    assert!(desk.create(&user("alice"), "three", spec("", None)).is_err(), "after a restart as well");
    desk.delete(&user("alice"), &first).expect("a job that has ended");
    assert!(desk.create(&user("alice"), "three", spec("", None)).is_ok());
}

#[test]
fn the_bytes_of_kept_specifications_are_limited_and_those_of_jobs_that_have_not_ended_more_so() {
    let text = "x".repeat(30 << 10);
    let mut desk = Desk::new(|config| {
        config.keep.job_bytes = 1 << 20;
        config.max_queued_jobs = 100;
    });
    let alice = user("alice");
    let (mut ids, mut refused) = (Vec::new(), None);
    while refused.is_none() {
        match desk.create(&alice, &format!("{}", ids.len()), spec(&text, None)) {
            Ok(id) => ids.push(id),
            Err(error) => refused = Some(error.to_string()),
        }
    }
    assert_eq!(ids.len(), 1, "a quarter of an eighth of a mebibyte");
    let refused = refused.expect("a refusal");
    assert!(refused.contains("have not ended") && refused.contains("lookbehind cancel"), "{refused}");
    let refused = loop {
        let last = ids.last().expect("a job").clone();
        desk.cancel(&alice, &last).expect("a job that has not ended");
        match desk.create(&alice, &format!("{}", ids.len()), spec(&text, None)) {
            Ok(id) => ids.push(id),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(ids.len(), 8, "a quarter of a mebibyte: {refused}");
    assert!(
        refused.contains("specifications of kept jobs") && refused.contains("lookbehind delete"),
        "{refused}"
    );
    assert!(desk.create(&user("bob"), "one", spec(&text, None)).is_ok(), "others have their own share");
    desk.delete(&alice, &ids[0]).expect("a job that has ended");
    assert!(desk.create(&alice, "another", spec(&text, None)).is_ok());
}

#[test]
fn a_stored_job_that_cannot_be_read_is_left_alone_and_can_be_deleted() {
    let mut desk = Desk::new(|_| ());
    let id = desk.create(&admin(), "one", spec("", None)).expect("room for a job");
    for job in desk.stored.values_mut() {
        job.spec = Some(vec![0xff]);
    }
    desk.restart();
    assert_eq!(listed(&mut desk, &admin(), 9), [1]);
    let next = desk.create(&admin(), "two", spec("", None)).expect("room for a job");
    assert_eq!(listed(&mut desk, &admin(), 9), [2, 1], "its number is not used again");
    desk.delete(&admin(), &id).expect("a job that is of no use");
    assert!(desk.delete(&admin(), &next).is_err());
}

#[test]
fn a_long_reason_is_kept_in_the_notice_and_its_beginning_in_the_record() {
    let mut desk = Desk::new(|_| ());
    let id = desk.create(&admin(), "one", spec("", None)).expect("room for a job");
    let job = desk.core.jobs.get_mut(&id).expect("the job");
    desk.core.cluster.set_state(job, JobState::Failed, &"ü".repeat(5000));
    let Some(super::super::Command::Persist(change)) = desk.core.cluster.commands.first() else {
        panic!("expected a change of the job");
    };
    assert_eq!((change.record.message.len(), change.notices[0].message.len()), (1024, 10_000));
}
