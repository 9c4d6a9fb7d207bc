//! A year of simulated time in which jobs are submitted every third day, fail, are cancelled, retried and deleted: what is
//! left of them in memory, on the disk and in metrics is as much after a year as after two months.

use std::path::Path;

use lookbehind_common::ids::{ClusterId, SessionSecret};
use lookbehind_proto::v1;
use lookbehind_telemetry::traces::Traces;
use prometheus_client::registry::Registry;
use tempfile::TempDir;

use super::*;
use crate::observe::Observer;
use crate::state::event::{Fault, LossCause, Origin, Reply, ReplyTo, UserCall, WorkerMessage};
use crate::state::observation::StepTimeline;
use crate::state::{JobState, Now, tests};
use crate::store::Store;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Time between two days on which jobs are submitted, and the number of these days in a year.
const REST: Duration = DAY.saturating_mul(3);
const DAYS: u64 = 365 / 3;
/// The day after which nothing grows any more: jobs are kept for one month.
const SETTLED: u64 = 20;
/// The coordinator is started again after so many of these days.
const RUN: u64 = 40;
/// Users, who submit in turn.
const USERS: u64 = 7;
/// Bytes of the files of one job.
const FILES: usize = 4096;
/// Jobs that are kept; each leaves at most one folder.
const JOBS: u64 = 15;
/// Bytes that the database may have.
const DATABASE: u64 = 512 << 10;

fn retention() -> Retention {
    Retention { time: Some(30 * DAY), jobs: Some(JOBS), bytes: Some(1 << 20) }
}

/// A coordinator without its runtime: state machine, state folder and metrics.
struct Year {
    core: Core,
    now: Now,
    folder: TempDir,
    store: Option<Store>,
    registry: Registry,
    observer: Observer,
    calls: u64,
}

/// What is left of jobs.
#[derive(Debug)]
struct Left {
    jobs: u64,
    /// Length of the description of all that is in memory of jobs that have ended.
    memory: usize,
    series: usize,
    database: u64,
    folders: usize,
}

impl Year {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (now, mut registry) = (Now::default(), Registry::default());
        let observer = Observer::new(&mut registry, Traces::default(), Duration::from_secs(1));
        let (store, core) = start(folder.path(), now);
        Self { core, now, folder, store: Some(store), registry, observer, calls: 0 }
    }

    /// A new start of the process.
    fn restart(&mut self) {
        self.store = None;
        let (store, core) = start(self.folder.path(), self.now);
        (self.store, self.core) = (Some(store), core);
        self.registry = Registry::default();
        self.observer = Observer::new(&mut self.registry, Traces::default(), Duration::from_secs(1));
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("an open state folder")
    }

    fn handle(&mut self, event: Event) -> Option<Reply> {
        let mut answer = None;
        for command in self.core.handle(self.now, event) {
            match command {
                Command::Reply(_, reply) | Command::Acknowledge(_, reply) => answer = Some(reply),
                Command::Persist(change) => self.store().put(&change).expect("a writable state"),
                Command::Delete(id) => {
                    self.store().delete(&id).expect("a writable state");
                    self.store().remove_files(&id).expect("files that can be removed");
                }
                Command::Measure(job) => {
                    let bytes = self.store().file_bytes(&job).expect("its size");
                    self.handle(Event::Measured { job, bytes });
                }
                Command::Observe(observation) => self.observer.note(self.now.unix, observation),
                _ => {}
            }
        }
        answer
    }

    fn call(&mut self, caller: &Caller, call: UserCall) -> Option<Reply> {
        self.calls += 1;
        self.handle(Event::User { reply_to: ReplyTo(self.calls), caller: caller.clone(), call })
    }

    fn create(&mut self, caller: &Caller) -> JobId {
        let (request_id, entropy) = (format!("{}", self.calls), self.calls);
        let submission = tests::submission(&spec("", None));
        let call = UserCall::Create { request_id, submission, initial_checkpoint: Ok(None), entropy };
        let Some(Reply::Job(created)) = self.call(caller, call) else { panic!("expected a job") };
        let id = created.expect("room for a job").record.id;
        let folder = self.store().job_folder(&id);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("steps.journal"), [0; FILES]).expect("a file");
        let time = Some(v1::TimeSplit::default());
        let metrics = Box::new(v1::OuterStepMetrics { time, ..Default::default() });
        let (job, timeline) = (id.clone(), Box::new(StepTimeline::default()));
        self.observer.note(self.now.unix, Observation::StepDone { job, timeline, metrics, outer_steps: 1 });
        id
    }

    fn cancel(&mut self, caller: &Caller, id: &JobId) {
        let answer = self.call(caller, UserCall::Cancel(id.clone()));
        let Some(Reply::Job(ended)) = answer else { panic!("expected a job") };
        assert_eq!(ended.expect("a job that has not ended").record.state, JobState::Cancelled);
    }

    fn worker(&mut self, day: u64) -> Origin {
        let (registration, secret) =
            (tests::registration(&format!("w{day}")), SessionSecret::from_entropy(u128::from(day)));
        let register = Event::Register { reply_to: ReplyTo(0), registration, identity: None, secret };
        let Some(Reply::Registered(Ok(fencing_token))) = self.handle(register) else {
            panic!("expected a session")
        };
        Origin { fencing_token, identity: None }
    }

    fn day(&mut self, day: u64) {
        let user = Caller::User(format!("user {}", day % USERS));
        let worker = self.worker(day);
        let job = self.create(&user);
        let failed = WorkerMessage::PrepareFailed { job, fault: Fault::Job, reason: "no such data".into() };
        self.handle(Event::Worker(worker.clone(), failed));
        let id = self.create(&user);
        self.cancel(&user, &id);
        let spec = self.store().spec(&id).expect("a readable state");
        let Some(Reply::Job(retried)) = self.call(&user, UserCall::Retry { id: id.clone(), spec }) else {
            panic!("expected a job")
        };
        retried.expect("a queued job");
        self.cancel(&user, &id);
        let id = self.create(&user);
        self.cancel(&user, &id);
        let deleted = self.call(&user, UserCall::Delete(id));
        assert!(matches!(deleted, Some(Reply::Done(Ok(())))), "{deleted:?}");
        self.handle(Event::WorkerLost(worker.session(), LossCause::StreamClosed));
        self.now.elapsed += REST;
        self.now.unix = UnixMillis(self.now.unix.0 + REST.as_millis() as u64);
        self.handle(Event::Tick);
    }

    fn left(&self) -> Left {
        assert!(self.core.jobs.is_empty(), "a job has not ended");
        let jobs = self.core.catalog.newest_ended(None, u64::MAX).count() as u64;
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &self.registry).expect("text");
        let folders = std::fs::read_dir(self.folder.path().join("jobs")).expect("a folder").count();
        let database = std::fs::metadata(self.folder.path().join(crate::store::DATABASE)).expect("a file");
        Left {
            jobs,
            memory: format!("{:?}", self.core.catalog).len(),
            series: metrics.lines().filter(|line| !line.starts_with('#')).count(),
            database: database.len(),
            folders,
        }
    }
}

/// A state machine on what a state folder holds.
fn start(folder: &Path, now: Now) -> (Store, Core) {
    let opened = Store::open(folder, ClusterId("test".into()), 0).expect("a usable state");
    assert!(opened.removals.is_empty(), "all files of deleted jobs are removed");
    let incarnation = opened.incarnation;
    let config = crate::state::CoreConfig { retention: retention(), incarnation, ..tests::config() };
    let (core, _) = Core::new(config, opened.stored, now);
    (opened.store, core)
}

#[test]
fn after_a_year_of_use_no_more_is_left_of_jobs_than_after_two_months() {
    let mut year = Year::new();
    let mut settled = None;
    for day in 1..=DAYS {
        year.day(day);
        if day.is_multiple_of(RUN) {
            year.restart();
        }
        let left = year.left();
        assert!(left.jobs <= JOBS && left.folders as u64 <= left.jobs, "day {day}: {left:?}");
        assert!(left.database <= DATABASE, "day {day}: {left:?}");
        match &settled {
            None if day == SETTLED => settled = Some(left),
            None => {}
            Some(settled) => {
                // Numbers have more digits later.
                let memory = settled.memory + settled.memory / 20;
                assert!(left.memory <= memory, "day {day}: {left:?}, before {settled:?}");
                assert!(left.series <= settled.series, "day {day}: {left:?}, before {settled:?}");
            }
        }
    }
}
