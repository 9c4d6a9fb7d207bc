//! What happens to a job when the handling of an event halts.

use std::time::Duration;

use lookbehind_common::ids::{ClusterId, FencingToken, Incarnation, JobId, SessionSecret};
use lookbehind_common::job::JobFile;
use lookbehind_proto::wire;

use super::*;
use crate::state::active::Stage;
use crate::state::event::{
    Activation, Event, Fault, LossCause, Origin, Registration, Reply, ReplyTo, UserCall, WorkerMessage,
};
use crate::training::StartError;

/// A small cluster.
pub(super) fn config() -> CoreConfig {
    CoreConfig {
        cluster: ClusterId("test".into()),
        incarnation: Incarnation(1),
        failure_detection: Duration::from_secs(2),
        worker_grace: Duration::from_secs(60),
        max_queued_jobs: 10,
        max_workers: 10,
        max_workers_per_identity: 10,
        memory: 1 << 30,
        verification_key: 1,
    }
}

/// The creation of a job with this identity.
pub(super) fn create(reply_to: u64, id: &JobId) -> Event {
    let mut file = JobFile { name: "test".into(), ..JobFile::default() };
    file.model.kind = "toy".into();
    file.data.kind = "toy".into();
    file.train.batch_size = 8;
    file.train.epochs = Some(1);
    let spec = Box::new(wire::to_proto(&file));
    let call = UserCall::Create { request_id: "one".into(), spec, id: id.clone() };
    Event::User { reply_to: ReplyTo(reply_to), caller: Caller::Anyone, call }
}

/// The registration of a worker of this version.
pub(super) fn registration(name: &str) -> Registration {
    Registration {
        protocol: lookbehind_proto::PROTOCOL_VERSION,
        version: lookbehind_common::BUILD_VERSION.into(),
        name: name.into(),
        device: "cpu".into(),
    }
}

/// The outcome of a registration.
pub(super) fn outcome(commands: Vec<Command>) -> Result<FencingToken, String> {
    let reply = commands.into_iter().find_map(|command| match command {
        Command::Reply(_, Reply::Registered(outcome)) => Some(outcome),
        _ => None,
    });
    reply.expect("a reply").map_err(|refusal| refusal.reason)
}

fn core() -> Core {
    Core::new(config(), Vec::new(), Now::default()).0
}

/// A core with a job in state `Preparing` on one worker.
fn preparing() -> (Core, JobId, FencingToken) {
    let mut core = core();
    let id = JobId::from_entropy(1);
    core.handle(Now::default(), create(1, &id));
    let fencing_token = registered(&mut core, "worker").expect("the worker is registered");
    (core, id, fencing_token)
}

fn register(reply_to: u64, registration: Registration) -> Event {
    let secret = SessionSecret::from_entropy(u128::from(reply_to));
    Event::Register { reply_to: ReplyTo(reply_to), registration, identity: None, secret }
}

fn activation(core: &Core, id: &JobId) -> Activation {
    core.jobs[id].active.as_ref().expect("the job is active").activation
}

#[test]
fn a_broken_invariant_fails_the_job_and_is_named_in_its_message() {
    let (mut core, id, _) = preparing();
    let activation = activation(&core, &id);
    core.jobs.get_mut(&id).unwrap().active.as_mut().unwrap().stage = Stage::Loading;
    // Reports a durable checkpoint for a job that has no weights yet, which breaks an invariant.
    let digest = lookbehind_common::digest::Digest::of(b"weights");
    let durable = Event::Checkpointed { job: id.clone(), activation, outer_step: 0, result: Ok(digest) };
    core.handle(Now::default(), durable);
    let job = &core.jobs[&id];
    assert_eq!(job.record.state, JobState::Failed);
    assert!(job.active.is_none());
    let expected =
        "internal error of the coordinator: expected that a job whose outer step goes on is training";
    assert_eq!(job.record.message, expected);
    assert_eq!(core.cluster.workers.free().count(), 1, "its worker is free again");
}

#[test]
fn an_event_of_an_earlier_activation_changes_nothing() {
    let (mut core, id, _) = preparing();
    let before = Activation(activation(&core, &id).0 - 1);
    let result = Err(StartError("late".into()));
    let commands = core.handle(Now::default(), Event::Loaded { job: id.clone(), activation: before, result });
    assert!(commands.is_empty(), "{commands:?}");
    assert_eq!(core.jobs[&id].record.state, JobState::Preparing);
}

#[test]
fn a_job_that_is_over_keeps_its_state_where_an_invariant_is_broken() {
    let (mut core, id, fencing_token) = preparing();
    let cancel =
        Event::User { reply_to: ReplyTo(3), caller: Caller::Anyone, call: UserCall::Cancel(id.clone()) };
    core.handle(Now::default(), cancel);
    // By its entry the worker serves a job that has no members any more, which breaks an invariant.
    core.cluster.workers.get_mut(fencing_token.session).unwrap().job = Some(id.clone());
    core.handle(Now::default(), Event::WorkerLost(fencing_token.session, LossCause::StreamClosed));
    assert_eq!(core.jobs[&id].record.state, JobState::Cancelled);
}

/// The outcome of a registration under a name.
fn registered(core: &mut Core, name: &str) -> Result<FencingToken, String> {
    outcome(core.handle(Now::default(), register(9, registration(name))))
}

#[test]
fn a_worker_whose_name_would_act_on_what_shows_it_is_refused() {
    for name in ["a\u{1b}[2J", "a\u{9b}2J", "a\u{202e}b", "a\u{2066}b", "a\u{200b}b", "a\nb"] {
        let reason = registered(&mut core(), name).unwrap_err();
        assert!(reason.contains("printable"), "{reason}");
    }
    assert!(registered(&mut core(), "Größe-深度-שלום").is_ok());
}

#[test]
fn what_a_worker_gives_as_a_reason_is_made_harmless() {
    let (mut core, id, fencing_token) = preparing();
    let reason = "no \u{202e}file\u{9b}2J".to_owned();
    let failed = WorkerMessage::PrepareFailed { job: id.clone(), fault: Fault::Job, reason };
    core.handle(Now::default(), Event::Worker(Origin { fencing_token, identity: None }, failed));
    assert_eq!(core.jobs[&id].record.message, "no \\u{202e}file\\u{9b}2J");
}
