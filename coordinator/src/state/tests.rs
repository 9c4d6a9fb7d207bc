//! What happens to a job when the handling of an event halts.

use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{ClusterId, FencingToken, Incarnation, JobId, SessionSecret};
use lookbehind_common::job::JobFile;
use lookbehind_proto::{v1, wire};

use super::*;
use crate::state::active::Stage;
use crate::state::event::{
    Activation, CallError, Event, Fault, LossCause, Origin, Registration, Reply, ReplyTo, UserCall,
    WorkerMessage,
};
use crate::training::StartError;

/// A small cluster.
pub(super) fn config() -> CoreConfig {
    CoreConfig {
        cluster: ClusterId("test".into()),
        incarnation: Incarnation(1),
        failure_detection: Duration::from_secs(2),
        worker_grace: Duration::from_secs(60),
        worker_grace_then: WorkerGraceThen::Queue,
        max_queued_jobs: 40,
        max_workers: 10,
        max_workers_per_identity: 10,
        sharing: Sharing::default(),
        keep: KeepLimits {
            jobs: 100,
            job_bytes: 1 << 20,
            checkpoint_bytes: 1 << 42,
            upload_bytes: 1 << 30,
            unused_upload: Duration::from_secs(24 * 3600),
        },
        retention: Retention::default(),
        memory: 1 << 30,
        verification_key: 1,
        blocks: |lengths| Blocks::of_size(lengths, 4),
        exchange_route: ExchangeRoute::Workers,
        exchange_key: [1; 32],
    }
}

/// The entropy of the job that [`create`] makes.
const ENTROPY: u64 = 1;

/// The creation of the job with the identity of 1.
pub(super) fn create(reply_to: u64) -> Event {
    create_with(reply_to, |_| ())
}

/// The creation of a job that differs from that in what `change` does.
pub(super) fn create_with(reply_to: u64, change: impl FnOnce(&mut JobFile)) -> Event {
    let mut file = wire::from_proto(&spec("", None)).expect("a job file");
    change(&mut file);
    let submission = submission(&wire::to_proto(&file));
    let request_id = "one".into();
    let call = UserCall::Create { request_id, submission, initial_checkpoint: Ok(None), entropy: ENTROPY };
    Event::User { reply_to: ReplyTo(reply_to), caller: Caller::Anyone, call }
}

pub(super) fn submission(spec: &v1::JobSpec) -> Box<Submission> {
    Box::new(Submission::read(spec).expect("a valid specification"))
}

/// The specification of a small job, with a text of any length among its parameters, and a file to start from.
pub(super) fn spec(text: &str, init: Option<Digest>) -> Box<v1::JobSpec> {
    let mut file = JobFile { name: "test".into(), ..JobFile::default() };
    file.model.kind = "toy".into();
    file.data.kind = "toy".into();
    file.train.batch_size = 8;
    file.train.epochs = Some(1);
    file.model.init = init.map(|digest| digest.to_string().into());
    file.model.parameters.insert("text".into(), text.into());
    Box::new(wire::to_proto(&file))
}

/// A core whose callers are users, and the time.
pub(super) struct Desk {
    pub(super) core: Core,
    pub(super) now: Now,
    /// What was stored, as a start would find it.
    pub(super) stored: std::collections::BTreeMap<u64, StoredJob>,
    pub(super) uploads: std::collections::BTreeMap<String, UploadRecord>,
    pub(super) dropped: Vec<Digest>,
}

impl Desk {
    pub(super) fn new(change: impl FnOnce(&mut CoreConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        let core = Core::new(config, Stored::default(), Now::default()).0;
        Self {
            core,
            now: Now::default(),
            stored: Default::default(),
            uploads: Default::default(),
            dropped: Vec::new(),
        }
    }

    /// Starts again with what is stored.
    pub(super) fn restart(&mut self) {
        let mut jobs: Vec<StoredJob> = self.stored.values().cloned().collect();
        for job in &mut jobs {
            job.spec.take_if(|_| job.record.state.is_terminal());
        }
        let uploads = self.uploads.values().cloned().collect();
        let stored = Stored { jobs, uploads, unrecorded_uploads: Vec::new() };
        let (core, commands) = Core::new(self.core.cluster.config.clone(), stored, self.now);
        self.core = core;
        self.take(commands);
    }

    pub(super) fn ask(&mut self, caller: &Caller, call: UserCall) -> Reply {
        let event = Event::User { reply_to: ReplyTo(1), caller: caller.clone(), call };
        let commands = self.core.handle(self.now, event);
        self.take(commands).expect("an answer")
    }

    /// Creates a job whose identity depends on the `request_id`.
    pub(super) fn create(
        &mut self,
        caller: &Caller,
        request_id: &str,
        spec: Box<v1::JobSpec>,
    ) -> Result<JobId, CallError> {
        let hash = Digest::of(format!("{caller:?} {request_id}").as_bytes());
        let entropy = u64::from_le_bytes(hash.0[..8].try_into().unwrap());
        let submission = submission(&spec);
        let request_id = request_id.into();
        let call = UserCall::Create { request_id, submission, initial_checkpoint: Ok(None), entropy };
        match self.ask(caller, call) {
            Reply::Job(result) => result.map(|view| view.record.id),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn cancel(&mut self, caller: &Caller, id: &JobId) -> Result<JobState, CallError> {
        match self.ask(caller, UserCall::Cancel(id.clone())) {
            Reply::Job(result) => result.map(|view| view.record.state),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn delete(&mut self, caller: &Caller, id: &JobId) -> Result<(), CallError> {
        match self.ask(caller, UserCall::Delete(id.clone())) {
            Reply::Done(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn tick(&mut self) {
        let commands = self.core.handle(self.now, Event::Tick);
        self.take(commands);
    }

    fn take(&mut self, commands: Vec<Command>) -> Option<Reply> {
        let mut answer = None;
        for command in commands {
            match command {
                Command::Reply(_, reply) | Command::Acknowledge(_, reply) => answer = Some(reply),
                Command::Persist(change) => {
                    let number = change.record.number;
                    let before = self.stored.remove(&number).and_then(|job| job.spec);
                    let spec = change.spec.map(|spec| spec.to_vec()).or(before);
                    self.stored.insert(number, StoredJob { record: change.record, spec });
                }
                Command::Delete(id) => self.stored.retain(|_, job| job.record.id != id),
                Command::KeepUpload { record, .. } => {
                    self.uploads.insert(record.digest.to_string(), record);
                }
                Command::DropUpload(digest) => {
                    self.uploads.remove(&digest.to_string());
                    self.dropped.push(digest);
                }
                _ => {}
            }
        }
        answer
    }
}

/// The registration of a worker of this version.
pub(super) fn registration(name: &str) -> Registration {
    Registration {
        protocol: lookbehind_proto::PROTOCOL_VERSION,
        version: lookbehind_common::BUILD_VERSION.into(),
        name: name.into(),
        device: "cpu".into(),
        endpoint: None,
        beside_coordinator: false,
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
    Core::new(config(), Stored::default(), Now::default()).0
}

/// A core with a job in state `Preparing` on one worker.
fn preparing() -> (Core, JobId, FencingToken) {
    let mut core = core();
    let id = JobId::from_entropy(ENTROPY);
    core.handle(Now::default(), create(1));
    let fencing_token = registered(&mut core, "worker").expect("the worker is registered");
    (core, id, fencing_token)
}

fn register(reply_to: u64, registration: Registration) -> Event {
    let secret = SessionSecret::from_entropy(u128::from(reply_to));
    Event::Register { reply_to: ReplyTo(reply_to), registration, identity: None, secret }
}

/// The record of a job that has ended, of which nothing else is kept.
fn ended<'a>(core: &'a Core, id: &JobId) -> &'a JobRecord {
    assert!(!core.jobs.contains_key(id), "the job is still among those that have not ended");
    core.catalog.ended(id).expect("the job has ended")
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
    let record = ended(&core, &id);
    assert_eq!(record.state, JobState::Failed);
    let expected =
        "internal error of the coordinator: expected that a job whose outer step goes on is training";
    assert_eq!(record.message, expected);
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
    assert_eq!(ended(&core, &id).state, JobState::Cancelled);
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
    assert_eq!(ended(&core, &id).message, "worker worker: no \\u{202e}file\\u{9b}2J");
}
