use lookbehind_common::digest::Digest;

use super::*;
use crate::state::event::{Reply, UserCall};
use crate::state::record::{StoredJob, record_for_tests};
use crate::state::tests::{Desk, spec};
use crate::training::ComputeClass;

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

impl Desk {
    /// Retries a job with the specification that is stored of it.
    fn retry(&mut self, caller: &Caller, id: &JobId) -> Result<JobView, CallError> {
        let stored = self.stored.values().find(|job| job.record.id == *id);
        let spec = stored.and_then(|job| job.spec.clone());
        self.retry_with(caller, id, spec)
    }

    fn retry_with(
        &mut self,
        caller: &Caller,
        id: &JobId,
        spec: Option<Vec<u8>>,
    ) -> Result<JobView, CallError> {
        match self.ask(caller, UserCall::Retry { id: id.clone(), spec }) {
            Reply::Job(result) => *result,
            other => panic!("{other:?}"),
        }
    }

    fn cancelled(&mut self, caller: &Caller, request_id: &str) -> JobId {
        let id = self.create(caller, request_id, spec("", None)).expect("a job");
        self.cancel(caller, &id).expect("a cancelled job");
        id
    }
}

#[test]
fn a_cancelled_job_is_queued_again_once_however_often_it_is_retried() {
    let mut desk = Desk::new(|_| ());
    let alice = user("alice");
    let id = desk.cancelled(&alice, "one");
    let retried = desk.retry(&alice, &id).expect("a queued job").record;
    assert_eq!((retried.state, retried.finished_at), (JobState::Queued, None));
    assert_eq!(retried.message, "retried by its user; begins anew");
    let again = desk.retry(&alice, &id).expect("the same job").record;
    assert_eq!(again, retried);
    desk.restart();
    assert_eq!(desk.core.jobs[&id].record, retried, "it is stored as queued");
}

#[test]
fn only_the_owner_and_administrators_retry_a_job() {
    let mut desk = Desk::new(|_| ());
    let id = desk.cancelled(&user("alice"), "one");
    assert_eq!(desk.retry(&user("bob"), &id).unwrap_err(), CallError::NotFound(id.clone()));
    let retried = desk.retry(&Caller::Admin("root".into()), &id).expect("a queued job").record;
    assert_eq!(retried.message, "retried by admin \"root\"; begins anew");
    assert_eq!(desk.retry(&user("bob"), &id).unwrap_err(), CallError::NotFound(id));
}

#[test]
fn a_retried_job_takes_a_place_in_the_queue_of_its_user() {
    let mut desk = Desk::new(|config| config.max_queued_jobs = 4);
    let alice = user("alice");
    let id = desk.cancelled(&alice, "one");
    let other = desk.create(&alice, "two", spec("", None)).expect("a job");
    let full = desk.retry(&alice, &id).unwrap_err();
    assert_eq!(full, CallError::Exhausted { what: "queued jobs of one user", limit: 1 });
    desk.cancel(&alice, &other).expect("a cancelled job");
    assert!(desk.retry(&alice, &id).is_ok());
}

#[test]
fn a_retry_with_the_specification_of_another_job_finds_no_job() {
    let mut desk = Desk::new(|_| ());
    let id = desk.cancelled(&Caller::Anyone, "one");
    for spec in [None, Some(b"another".to_vec())] {
        let refused = desk.retry_with(&Caller::Anyone, &id, spec).unwrap_err();
        assert_eq!(refused, CallError::NotFound(id.clone()));
    }
}

#[test]
fn a_retried_job_with_a_checkpoint_stays_bound_to_its_compute_class_and_data() {
    let mut desk = Desk::new(|_| ());
    let id = desk.cancelled(&Caller::Anyone, "one");
    let class = ComputeClass { probe: Digest::of(b"probe"), description: "cpu".into() };
    for job in desk.stored.values_mut() {
        job.record.checkpoint = Some(4);
        job.record.class = Some(class.clone());
        job.record.description = Some(Digest::of(b"data"));
    }
    desk.restart();
    let retried = desk.retry(&Caller::Anyone, &id).expect("a queued job").record;
    assert_eq!(retried.message, "retried by its user; goes on from outer step 4");
    assert_eq!((retried.class, retried.description), (Some(class), Some(Digest::of(b"data"))));
}

#[test]
fn a_job_that_has_succeeded_cannot_be_retried() {
    let mut desk = Desk::new(|_| ());
    let record = crate::state::JobRecord { state: JobState::Succeeded, ..record_for_tests(1) };
    let id = record.id.clone();
    desk.stored.insert(1, StoredJob { record, spec: None });
    desk.restart();
    let refused = desk.retry(&Caller::Anyone, &id).unwrap_err();
    assert_eq!(refused, wrong_state(&id, "retry", JobState::Succeeded));
}
