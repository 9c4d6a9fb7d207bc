//! Whose description of model and data counts, and who is excluded from a job for how long.

use std::time::Duration;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{JobId, SessionSecret};
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;

mod liars;
mod returning;
mod verified;

use super::*;
use crate::state::Core;
use crate::state::command::Command;
use crate::state::event::{Admission, Event, Fault, LossCause, Origin, ReplyTo, WorkerMessage};
use crate::state::record::JobState;
use crate::state::{CoreConfig, JobRecord, Notice, Now, Stored, tests};

/// A core, one job and the time.
pub(in crate::state) struct Scene {
    pub(in crate::state) core: Core,
    pub(in crate::state) job: JobId,
    now: Now,
    asked: u64,
    /// What was noted of the job.
    pub(in crate::state) notices: Vec<Notice>,
}

impl Scene {
    pub(in crate::state) fn new() -> Self {
        let worker_grace = Duration::from_secs(600);
        let config = CoreConfig { worker_grace, max_workers_per_identity: 2, ..tests::config() };
        let core = Core::new(config, Stored::default(), Now::default()).0;
        Self { core, job: JobId::from_entropy(1), now: Now::default(), asked: 0, notices: Vec::new() }
    }

    pub(in crate::state) fn create(&mut self) {
        let create = tests::create(0);
        self.handle(create);
    }

    /// Creates the job with `resources.verify`.
    fn create_verified(&mut self) {
        let create = tests::create_with(0, |file| file.resources.verify = Some(4));
        self.handle(create);
    }

    pub(in crate::state) fn handle(&mut self, event: Event) -> Vec<Command> {
        let commands = self.core.handle(self.now, event);
        for command in &commands {
            if let Command::Persist(change) = command {
                self.notices.extend_from_slice(&change.notices);
            }
        }
        commands
    }

    fn registered(&mut self, name: &str, identity: Option<&str>) -> Result<Origin, String> {
        self.asked += 1;
        let identity: Option<Arc<str>> = identity.map(Arc::from);
        let commands = self.handle(Event::Register {
            reply_to: ReplyTo(self.asked),
            registration: tests::registration(name),
            identity: identity.clone(),
            secret: SessionSecret::from_entropy(u128::from(self.asked) + 99),
        });
        let fencing_token = tests::outcome(commands)?;
        Ok(Origin { fencing_token, identity })
    }

    pub(in crate::state) fn register(&mut self, name: &str) -> Origin {
        self.registered(name, None).expect("the worker is registered")
    }

    /// The worker has loaded the job from these data.
    pub(in crate::state) fn prepared(&mut self, origin: &Origin, data: &str) {
        self.prepared_as(origin, data, "probe", 2);
    }

    /// The worker has loaded the job from these data, has this class and found so many parameters.
    fn prepared_as(&mut self, origin: &Origin, data: &str, probe: &str, parameters: usize) {
        let event = self.preparation(origin, data, probe, parameters);
        self.handle(event);
    }

    fn preparation(&self, origin: &Origin, data: &str, probe: &str, parameters: usize) -> Event {
        let shape = vec![parameters];
        let tensor = TensorSpec { name: "weight".into(), shape, kind: TensorKind::Parameter };
        let description = Arc::new(JobDescription {
            layout: Layout::new([tensor]).expect("a layout"),
            train_samples: 16,
            test_samples: 0,
            further_tests: lookbehind_common::test_set::FurtherTests::default(),
            data_fingerprint: Digest::of(data.as_bytes()),
            class_names: Vec::new(),
            data_report: vec![format!("read by {}", origin.session()), "and \u{1b}cleaned".to_owned()],
        });
        let class = ComputeClass { probe: Digest::of(probe.as_bytes()), description: "cpu".into() };
        let message = WorkerMessage::Prepared { job: self.job.clone(), description, class };
        Event::Worker(origin.clone(), message)
    }

    /// The worker says that it could not load the job.
    fn failed(&mut self, origin: &Origin, fault: Fault) {
        let reason = "an invented reason".to_owned();
        let failed = WorkerMessage::PrepareFailed { job: self.job.clone(), fault, reason };
        self.handle(Event::Worker(origin.clone(), failed));
    }

    /// The worker uploads the initial weights, and they become durable.
    pub(in crate::state) fn drawn(&mut self, origin: &Origin) -> Vec<Command> {
        let zeros = FlatBuffer::zeros(2);
        let weights = ModelState { parameters: zeros, statistics: FlatBuffer::zeros(0) };
        let (origin, job) = (origin.clone(), self.job.clone());
        self.handle(Event::InitialStateArrived { reply_to: ReplyTo(1 << 20), origin, job, weights });
        self.stored(0)
    }

    /// A checkpoint is durable.
    fn stored(&mut self, outer_step: u64) -> Vec<Command> {
        let (job, activation) = (self.job.clone(), self.active().activation);
        let result = Ok(Digest::of(b"weights"));
        self.handle(Event::Checkpointed { job, activation, outer_step, result })
    }

    fn lose(&mut self, origin: &Origin) {
        self.handle(Event::WorkerLost(origin.session(), LossCause::StreamClosed));
    }

    fn after(&mut self, time: Duration) {
        self.now.elapsed += time;
        for session in self.sessions() {
            self.core.cluster.workers.note_heard(session, self.now.elapsed);
        }
        self.handle(Event::Tick);
    }

    fn sessions(&self) -> Vec<SessionId> {
        self.core.cluster.workers.iter().map(|(session, _)| session).collect()
    }

    pub(in crate::state) fn record(&self) -> &JobRecord {
        let job = self.core.jobs.get(&self.job).map(|job| &job.record);
        job.or_else(|| self.core.catalog.ended(&self.job)).expect("the job")
    }

    fn excluded(&self) -> Vec<SessionId> {
        self.core.jobs[&self.job].excluded.keys().copied().collect()
    }

    fn active(&self) -> &Active {
        self.core.jobs[&self.job].active.as_ref().expect("the job is active")
    }
}

#[test]
fn the_description_of_most_workers_counts_and_not_that_of_the_first() {
    let mut scene = Scene::new();
    let workers = ["odd", "a", "b"].map(|name| scene.register(name));
    scene.create();
    scene.prepared(&workers[0], "old data");
    assert!(scene.active().described.is_none(), "two others have not answered yet");
    scene.prepared(&workers[1], "data");
    scene.prepared(&workers[2], "data");
    assert_eq!(scene.excluded(), [workers[0].session()]);
    let reason = scene.core.jobs[&scene.job].reasons_of_exclusions();
    assert!(
        reason.contains("worker odd: it differs from worker a and 1 more in data fingerprint"),
        "{reason}"
    );
    assert!(matches!(scene.active().stage, Stage::Drawing(_)));
}

#[test]
fn what_was_read_of_the_data_is_told_once_by_a_worker_whose_description_counts() {
    let mut scene = Scene::new();
    let workers = ["odd", "a", "b"].map(|name| scene.register(name));
    scene.create();
    for (worker, data) in workers.iter().zip(["old data", "data", "data"]) {
        scene.prepared(worker, data);
    }
    let told: Vec<&str> = scene.notices.iter().map(|notice| notice.message.as_str()).collect();
    let told: Vec<&str> = told.into_iter().filter(|message| message.starts_with("data: ")).collect();
    assert_eq!(told, [format!("data: read by {}; and \\u{{1b}}cleaned", workers[1].session())]);
}

#[test]
fn a_worker_that_does_not_answer_delays_the_others_for_a_limited_time() {
    let mut scene = Scene::new();
    let workers = ["a", "b"].map(|name| scene.register(name));
    scene.create();
    scene.now.elapsed = Duration::from_secs(10);
    scene.prepared(&workers[0], "data");
    // Eight times failure detection, which is longer than the first one took.
    scene.after(Duration::from_secs(15));
    assert!(scene.active().described.is_none());
    scene.after(Duration::from_secs(1));
    assert!(scene.active().described.is_some());
}

#[test]
fn what_a_worker_excluded_others_for_goes_with_it() {
    let mut scene = Scene::new();
    let first = scene.register("first");
    scene.create();
    scene.prepared(&first, "old data");
    let honest = scene.register("honest");
    scene.prepared(&honest, "data");
    assert_eq!(scene.excluded(), [honest.session()]);
    scene.handle(Event::WorkerLost(first.session(), LossCause::StreamClosed));
    assert_eq!(scene.excluded(), []);
    assert_eq!(scene.record().state, JobState::Preparing, "{}", scene.record().message);
    scene.prepared(&honest, "data");
    assert!(matches!(scene.active().stage, Stage::Drawing(_)));
}

#[test]
fn a_description_of_which_no_author_is_left_is_dropped_although_others_load_the_job() {
    let mut scene = Scene::new();
    let first = scene.register("first");
    scene.create();
    scene.prepared(&first, "old data");
    let loading = scene.register("loading");
    scene.handle(Event::WorkerLost(first.session(), LossCause::StreamClosed));
    scene.prepared(&loading, "data");
    assert_eq!(scene.excluded(), []);
    assert!(matches!(scene.active().stage, Stage::Drawing(_)));
}

#[test]
fn saying_again_that_it_is_prepared_makes_no_notice() {
    let mut scene = Scene::new();
    let worker = scene.register("worker");
    scene.create();
    scene.prepared(&worker, "data");
    let revision = scene.record().revision;
    for _ in 0..100 {
        scene.prepared(&worker, "data");
        scene.prepared(&worker, "other data");
    }
    assert_eq!(scene.record().revision, revision);
    assert_eq!(scene.excluded(), []);
}

#[test]
fn messages_in_the_name_of_another_session_change_nothing() {
    let mut scene = Scene::new();
    let alice = scene.registered("a", Some("alice")).unwrap();
    let mallory = scene.registered("m", Some("mallory")).unwrap();
    scene.create();
    // With a guessed session number, with a stolen secret, and with both from another identity.
    let guessed = Origin {
        fencing_token: lookbehind_common::ids::FencingToken {
            session: alice.session(),
            ..mallory.fencing_token.clone()
        },
        identity: mallory.identity.clone(),
    };
    let stolen = Origin { fencing_token: alice.fencing_token.clone(), identity: mallory.identity.clone() };
    let as_alice = Origin { fencing_token: guessed.fencing_token.clone(), identity: alice.identity.clone() };
    for forged in [guessed, stolen, as_alice] {
        scene.handle(Event::Worker(forged.clone(), WorkerMessage::Draining));
        let reason = "forged".to_owned();
        let fault = crate::state::event::Fault::Job;
        let failed = WorkerMessage::PrepareFailed { job: scene.job.clone(), fault, reason };
        scene.handle(Event::Worker(forged.clone(), failed));
        scene.prepared(&forged, "other data");
        assert!(matches!(scene.core.admit_download(&forged, &scene.job), Admission::Stale(_)));
    }
    assert_eq!(scene.record().state, JobState::Preparing);
    assert!(scene.active().claims.is_empty());
    assert!(scene.core.cluster.workers.iter().all(|(_, worker)| !worker.draining));
}

#[test]
fn one_identity_may_have_a_limited_number_of_sessions() {
    let mut scene = Scene::new();
    for name in ["a", "b"] {
        scene.registered(name, Some("machine")).unwrap();
    }
    let refused = scene.registered("c", Some("machine")).unwrap_err();
    assert_eq!(refused, "workers with the identity \"machine\": the limit of 2 is reached");
    scene.registered("c", Some("other")).unwrap();
}
