use crate::state::access::Caller;
use crate::state::describing::tests::Scene;
use crate::state::event::{CallError, Event, Reply, UserCall};
use crate::state::listing::JobQuery;
use crate::state::record::{JobState, NoticeKind};
use crate::state::tests::{Desk, spec};

use super::StorageFailure;

fn full() -> StorageFailure {
    StorageFailure { full: true, reason: "state/state.redb: no room".into() }
}

/// Kinds of the notices about storage that a scene has seen.
fn storage_notices(scene: &Scene) -> usize {
    scene.notices.iter().filter(|notice| notice.kind == NoticeKind::Storage).count()
}

#[test]
fn training_waits_between_two_outer_steps_until_its_results_can_be_stored() {
    let mut scene = Scene::new();
    scene.create();
    let worker = scene.register("worker");
    scene.prepared(&worker, "data");
    let begun = scene.drawn(&worker);
    for _ in 0..2 {
        scene.handle(Event::Storage(Some(full())));
    }
    scene.work(begun, &worker);
    assert_eq!(scene.core.jobs[&scene.job].outer_step(), 1, "the outer step under way is finished");
    assert_eq!(storage_notices(&scene), 1);
    let goes_on = scene.handle(Event::Storage(None));
    assert_eq!(storage_notices(&scene), 2);
    scene.work(goes_on, &worker);
    assert_eq!(scene.record().state, JobState::Succeeded);
    assert_eq!(storage_notices(&scene), 2);
}

#[test]
fn a_job_whose_results_cannot_be_stored_says_what_it_waits_for_where_no_notice_can_be_stored_either() {
    let mut scene = Scene::new();
    scene.create();
    let worker = scene.register("worker");
    scene.prepared(&worker, "data");
    let begun = scene.drawn(&worker);
    let failure = StorageFailure { full: false, reason: "state/state.redb: Input/output error".into() };
    scene.handle(Event::Storage(Some(failure)));
    scene.work(begun, &worker);
    let wait = |scene: &Scene| {
        let wait = scene.core.waits().of(&scene.core.jobs[&scene.job]);
        wait.map(|wait| wait.to_string()).unwrap_or_default()
    };
    let expected = "the disk: the coordinator's state cannot be stored: state/state.redb: Input/output error";
    assert_eq!(wait(&scene), expected);
    scene.handle(Event::Storage(None));
    assert_eq!(wait(&scene), "");
}

#[test]
fn a_shutdown_does_not_wait_for_a_disk_that_is_full() {
    let mut scene = Scene::new();
    scene.create();
    let worker = scene.register("worker");
    scene.prepared(&worker, "data");
    let begun = scene.drawn(&worker);
    scene.handle(Event::Storage(Some(full())));
    scene.work(begun, &worker);
    scene.handle(Event::Shutdown);
    assert!(scene.core.stopped);
}

#[test]
fn while_nothing_can_be_stored_calls_that_change_something_are_refused_and_reads_are_answered() {
    let mut desk = Desk::new(|_| ());
    let caller = Caller::Anyone;
    let id = desk.create(&caller, "before", spec("", None)).expect("room");
    desk.core.handle(desk.now, Event::Storage(Some(full())));
    let refused = CallError::Storage(full());
    assert_eq!(desk.create(&caller, "after", spec("", None)), Err(refused.clone()));
    assert_eq!(desk.create(&caller, "before", spec("", None)), Ok(id.clone()), "a retry is a read");
    assert_eq!(desk.cancel(&caller, &id), Err(refused.clone()));
    for call in [UserCall::Pause(id.clone()), UserCall::Resume { id: id.clone(), accept_class: false }] {
        let Reply::Job(answer) = desk.ask(&caller, call) else { panic!("expected a job") };
        assert_eq!(answer.map(|view| view.record.state), Err(refused.clone()));
    }
    assert_eq!(desk.delete(&caller, &id), Err(refused.clone()));
    let Reply::Ticket(announced) = desk.ask(&caller, UserCall::AnnounceUpload(1)) else {
        panic!("expected a ticket")
    };
    assert_eq!(announced, Err(refused));
    let query = JobQuery { count: 9, ..JobQuery::default() };
    let Reply::Jobs(jobs, _) = desk.ask(&caller, UserCall::List(query)) else { panic!("expected jobs") };
    let states: Vec<JobState> = jobs.iter().map(|view| view.record.state).collect();
    assert_eq!(states, [JobState::Queued], "nothing took effect");
    desk.core.handle(desk.now, Event::Storage(None));
    assert_eq!(desk.cancel(&caller, &id), Ok(JobState::Cancelled));
}
