//! The coordinator's core: a pure state machine. Events and the time go in, commands come out; nothing here
//! opens sockets, reads clocks or waits.

mod access;
mod assign;
mod checkpoints;
pub mod command;
pub mod event;
mod job;
mod members;
pub mod observation;
mod partials;
mod preparing;
mod record;
mod running;
mod scheduling;
mod slow;
mod step;
mod users;
mod work;
mod workers;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lookbehind_common::ids::{ClusterId, Fence, Incarnation, JobId, SessionId};

pub use access::Caller;
use command::{Command, ToWorker};
use event::{Activation, Event, LossCause, Reply, Token};
use job::Job;
use observation::{JobMove, Observation};
pub use record::{JobRecord, JobState, Notice, UnixMillis};
use workers::Workers;

/// What the core needs to know of its configuration.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The cluster's identity.
    pub cluster: ClusterId,
    /// This start of the coordinator.
    pub incarnation: Incarnation,
    /// Silence that means loss; all other liveness deadlines derive from it.
    pub failure_detection: Duration,
    /// How long a running job may be without any worker before it fails.
    pub worker_grace: Duration,
    /// Jobs that may wait at a time.
    pub max_queued_jobs: usize,
    /// Workers that may be registered at a time.
    pub max_workers: usize,
    /// Bytes that the arenas of all running jobs may take together.
    pub memory: u64,
}

impl CoreConfig {
    /// Time between two heartbeats: three may be lost before silence means loss.
    pub fn heartbeat_interval(&self) -> Duration {
        self.failure_detection / 4
    }
}

/// The time, as the core is told it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Since the coordinator's start; never goes back.
    pub elapsed: Duration,
    /// For people.
    pub unix: UnixMillis,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    workers: Workers,
    jobs: BTreeMap<JobId, Job>,
    /// Creations by owner and request_id.
    requests: HashMap<(String, String), JobId>,
    created: u64,
    activations: u64,
    heartbeats: u64,
    next_heartbeat: Duration,
    stopping: bool,
    stopped: bool,
    now: Now,
    commands: Vec<Command>,
}

impl Core {
    /// Starts on the stored jobs; those that were running are queued again.
    pub fn new(config: CoreConfig, records: Vec<JobRecord>, now: Now) -> (Self, Vec<Command>) {
        let mut core = Self {
            config,
            workers: Workers::default(),
            jobs: BTreeMap::new(),
            requests: HashMap::new(),
            created: 0,
            activations: 0,
            heartbeats: 0,
            next_heartbeat: now.elapsed,
            stopping: false,
            stopped: false,
            now,
            commands: Vec::new(),
        };
        for record in records {
            core.recover(record);
        }
        let commands = std::mem::take(&mut core.commands);
        (core, commands)
    }

    /// Takes one event and returns what is to be done about it.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Command> {
        self.now = now;
        match event {
            Event::Tick => self.tick(),
            Event::User(token, caller, call) => self.user_call(token, &caller, call),
            Event::Register(token, hello) => self.register(token, hello),
            Event::Worker(fence, says) => self.worker_says(&fence, says),
            Event::WorkerLost(session, cause) => self.lose_worker(session, &cause),
            Event::PartialOffered(token, header) => {
                let admission = self.admit_partial(&header);
                self.reply(token, Reply::Admission(admission));
            }
            Event::PartialArrived(token, header, contribution, checksum) => {
                let outcome = self.take_partial(&header, contribution, checksum);
                self.reply(token, Reply::Partial(outcome));
            }
            Event::InitialStateOffered(token, fence, job, parameters, statistics) => {
                let admission = self.admit_initial_state(&fence, &job, (parameters, statistics));
                self.reply(token, Reply::Admission(admission));
            }
            Event::InitialStateArrived(token, fence, job, state) => {
                let admission = self.take_initial_state(&fence, &job, state);
                self.reply(token, Reply::Admission(admission));
            }
            Event::WeightsAsked(token, fence, job) => {
                let admission = self.admit_download(&fence, &job);
                self.reply(token, Reply::Admission(admission));
            }
            Event::Loaded(job, activation, result) => self.loaded(&job, activation, result),
            Event::Advanced(job, activation, advance) => self.advanced(&job, activation, *advance),
            Event::Checkpointed(job, activation, outer_step, result) => {
                self.checkpointed(&job, activation, outer_step, result);
            }
            Event::ReplayDiffers(job, activation, difference) => {
                // Where classes are mixed, nobody promised the same bytes.
                let promised = !self.jobs.get(&job).is_some_and(job::Job::mixes_classes);
                if promised && self.active_job(&job, activation).is_some() {
                    self.fail(&job, &difference.to_string());
                }
            }
            Event::Shutdown => self.stopping = true,
        }
        self.schedule();
        if self.stopping {
            self.stop_idle_jobs();
            self.check_stopped();
        }
        std::mem::take(&mut self.commands)
    }

    fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    fn observe(&mut self, observation: Observation) {
        self.push(Command::Observe(observation));
    }

    fn reply(&mut self, token: Token, reply: Reply) {
        self.push(Command::Reply(token, reply));
    }

    /// Whether a message is from a worker that is registered now, with this incarnation of this cluster.
    fn is_current(&self, fence: &Fence) -> bool {
        fence.cluster == self.config.cluster
            && fence.incarnation == self.config.incarnation
            && self.workers.get(fence.session).is_some()
    }

    /// Why a fence is not current, in words.
    fn stale(&self, fence: &Fence) -> String {
        if fence.cluster != self.config.cluster {
            format!("cluster {} is not this one, {}", fence.cluster, self.config.cluster)
        } else if fence.incarnation != self.config.incarnation {
            format!("incarnation {} is over, this is {}", fence.incarnation, self.config.incarnation)
        } else {
            format!("session {} is over", fence.session)
        }
    }

    /// The job, if it is active in this very activation.
    fn active_job(&mut self, id: &JobId, activation: Activation) -> Option<&mut Job> {
        let job = self.jobs.get_mut(id)?;
        (job.active.as_ref()?.activation == activation).then_some(job)
    }

    /// Stores a job's record with a notice of what changed.
    fn note(&mut self, id: &JobId, message: &str) {
        let at = self.now.unix;
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.record.revision += 1;
        let notice = Notice {
            revision: job.record.revision,
            state: job.record.state,
            message: message.to_owned(),
            outer_step: job.outer_step(),
            total_outer_steps: job.record.total_outer_steps,
            digest: job.record.digest,
            at,
        };
        let record = Box::new(job.record.clone());
        self.push(Command::Persist(record, Some(notice)));
        self.observe(Observation::JobNoted(id.clone(), message.to_owned()));
    }

    /// Moves a job to another state, for a reason.
    fn set_state(&mut self, id: &JobId, state: JobState, message: &str) {
        let (at, now) = (self.now.unix, self.now.elapsed);
        let Some(job) = self.jobs.get_mut(id) else { return };
        let from = std::mem::replace(&mut job.record.state, state);
        let since = job.since.replace(now);
        // A new job is in its first state before anybody has heard of it.
        let from = since.map(|_| from);
        let after = since.map(|since| now.saturating_sub(since));
        message.clone_into(&mut job.record.message);
        if state.is_terminal() {
            job.record.finished_at = Some(at);
        }
        if state == JobState::Paused || state.is_terminal() {
            job.record.pausing = false;
        }
        self.note(id, message);
        self.observe(Observation::JobMoved(JobMove { job: id.clone(), from, to: state, after }));
    }

    /// Ends a job's activity: its workers are free again.
    fn release(&mut self, id: &JobId) {
        let Some(active) = self.jobs.get_mut(id).and_then(|job| job.active.take()) else { return };
        for session in active.members.into_keys() {
            self.free_worker(session, id);
        }
        self.push(Command::Unpublish(id.clone()));
    }

    fn free_worker(&mut self, session: SessionId, job: &JobId) {
        if let Some(worker) = self.workers.get_mut(session) {
            worker.job = None;
            self.push(Command::Send(session, ToWorker::Release(job.clone())));
        }
    }

    /// Ends a job in failure.
    fn fail(&mut self, id: &JobId, reason: &str) {
        self.set_state(id, JobState::Failed, reason);
        self.release(id);
    }

    fn tick(&mut self) {
        for session in self.workers.silent(self.now.elapsed, self.config.failure_detection) {
            self.lose_worker(session, &LossCause::Silent);
        }
        if self.now.elapsed >= self.next_heartbeat {
            self.next_heartbeat = self.now.elapsed + self.config.heartbeat_interval();
            self.heartbeats += 1;
            let sessions: Vec<_> = self.workers.iter().map(|(session, _)| session).collect();
            for session in sessions {
                self.push(Command::Send(session, ToWorker::Heartbeat(self.heartbeats)));
            }
        }
        self.overtake_slow_workers();
        self.fail_lonely_jobs();
    }

    /// Running jobs that have had no worker for too long fail.
    fn fail_lonely_jobs(&mut self) {
        let (now, grace) = (self.now.elapsed, self.config.worker_grace);
        let lonely = |job: &Job| {
            let since = job.active.as_ref().and_then(|active| active.alone_since);
            since.is_some_and(|since| now.saturating_sub(since) > grace)
        };
        let ids: Vec<_> = self.jobs.values().filter(|job| lonely(job)).map(|job| job.id().clone()).collect();
        for id in ids {
            self.fail(&id, &format!("no worker came within {} s", grace.as_secs()));
        }
    }

    /// Says once that everything is at rest.
    fn check_stopped(&mut self) {
        let at_rest = self.jobs.values().all(|job| job.active.is_none());
        if self.stopping && !self.stopped && at_rest {
            self.stopped = true;
            self.push(Command::Stopped);
        }
    }
}
