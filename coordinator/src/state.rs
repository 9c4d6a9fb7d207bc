//! The coordinator's core: a pure state machine. Events and the time go in, commands come out. Nothing here
//! opens sockets, reads clocks or waits, so tests can run whole clusters in one thread and in virtual time.

mod access;
mod active;
mod arrivals;
mod assign;
mod catalog;
mod checkpoint_room;
mod checkpoints;
mod cluster;
pub mod command;
mod describing;
mod doubt;
mod due;
pub mod event;
mod exchange;
mod halt;
mod job;
mod leaving;
mod listing;
mod measured;
mod member;
mod members;
pub mod observation;
mod pace;
mod partials;
mod parties;
mod planning;
mod preparing;
mod record;
mod repeats;
mod reply;
mod request;
mod results;
mod retention;
mod retrying;
mod room;
mod running;
mod scheduling;
mod second_identity;
mod sharing;
mod slow;
mod standing;
mod steering;
mod step;
mod step_end;
mod storage;
mod submission;
mod transfers;
mod uploads;
mod usage;
mod users;
mod verify;
mod waits;
mod workers;

use std::collections::BTreeMap;
use std::time::Duration;

use lookbehind_common::blocks::Blocks;
use lookbehind_common::ids::{ClusterId, Incarnation, JobId};
use lookbehind_common::model_state::ModelState;

pub use access::Caller;
use arrivals::Arrivals;
pub use assign::model::{Load, Route, Traffic};
pub use assign::routes::ExchangeRoute;
pub use assign::{Prediction, predict};
use catalog::Catalog;
pub use catalog::KeepLimits;
use cluster::Cluster;
use command::{Command, WorkerCommand};
use event::{Event, LossCause, Reply};
pub use exchange::{AuditedSlice, Part, RangeParts};
use halt::{Halt, Handled};
use job::Job;
pub use leaving::WorkerGraceThen;
pub use listing::{JobFilter, JobQuery, NotAPlace, Place};
#[cfg(test)]
pub(crate) use record::record_for_tests;
pub use record::{
    InitialCheckpoint, JobChange, JobRecord, JobState, Notice, NoticeKind, Stored, StoredJob, UnixMillis,
    UploadRecord,
};
pub use results::{BestResult, Results, TestResults};
pub use retention::Retention;
pub use sharing::Sharing;
use sharing::Turns;
pub use storage::StorageFailure;
pub use submission::Submission;
use uploads::Uploads;
pub use waits::{Excluded, Wait};
use workers::Workers;

/// The part of the configuration that the core uses.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Identity of the cluster; part of every fencing token.
    pub cluster: ClusterId,
    /// Incarnation that this start began; part of every fencing token.
    pub incarnation: Incarnation,
    /// A worker that is silent for longer than this is lost; all other liveness deadlines derive from it.
    pub failure_detection: Duration,
    /// How long a running job without any worker is kept in memory.
    pub worker_grace: Duration,
    /// What becomes of it then.
    pub worker_grace_then: WorkerGraceThen,
    /// Maximum number of queued jobs.
    pub max_queued_jobs: usize,
    /// Maximum number of registered workers.
    pub max_workers: usize,
    /// Maximum number of registered workers with the same identity.
    pub max_workers_per_identity: usize,
    /// How workers are shared between users.
    pub sharing: Sharing,
    /// Limits on what is kept.
    pub keep: KeepLimits,
    /// What is kept of the jobs that have ended.
    pub retention: Retention,
    /// Bytes that the flat buffers of all active jobs may take together.
    pub memory: u64,
    /// Secret from which the shards to be verified are drawn; see `resources.verify`.
    pub verification_key: u64,
    /// The blocks of weights and gradients that workers exchange with each other, from the lengths of the flat buffers.
    pub blocks: fn(ModelState<usize>) -> Blocks,
    /// How the way of weights and partials is chosen.
    pub exchange_route: ExchangeRoute,
    /// Secret from which the tickets of exchanges between workers are derived.
    pub exchange_key: [u8; 32],
}

impl CoreConfig {
    /// Time between two heartbeats: a quarter of failure detection, so that three may be lost before the peer counts
    /// as lost.
    pub fn heartbeat_interval(&self) -> Duration {
        self.failure_detection / 4
    }
}

/// The time of an event. The core reads no clock itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Time since the coordinator's start, from a monotonic clock: all deadlines use it.
    pub elapsed: Duration,
    /// Wall-clock time, stored in records and notices for people to read. The only decisions that depend on it are which
    /// unused uploads and which jobs that have ended are removed, because their age goes on while the coordinator does
    /// not run.
    pub unix: UnixMillis,
}

/// The state machine. Its owner calls [`Core::handle`] for one event at a time.
#[derive(Debug)]
pub struct Core {
    cluster: Cluster,
    /// The jobs that have not ended.
    jobs: BTreeMap<JobId, Job>,
    /// All jobs, and the records of those that have ended.
    catalog: Catalog,
    uploads: Uploads,
    /// What users have had of the workers.
    turns: Turns,
    created: u64,
    activations: u64,
    heartbeats: u64,
    next_heartbeat: Duration,
    stopped: bool,
}

impl Core {
    /// Starts with what is stored; jobs that were preparing or running are queued again, or paused where a pause was
    /// requested.
    pub fn new(config: CoreConfig, mut stored: Stored, now: Now) -> (Self, Vec<Command>) {
        let mut core = Self {
            cluster: Cluster {
                config,
                workers: Workers::default(),
                arrivals: Arrivals::default(),
                stopping: false,
                storage_failure: None,
                now,
                commands: Vec::new(),
                ended: Vec::new(),
            },
            jobs: BTreeMap::new(),
            catalog: Catalog::default(),
            uploads: Uploads::default(),
            turns: Turns::default(),
            created: 0,
            activations: 0,
            heartbeats: 0,
            next_heartbeat: now.elapsed,
            stopped: false,
        };
        for job in std::mem::take(&mut stored.jobs) {
            core.recover(job);
        }
        core.recover_uploads(&mut stored);
        let commands = std::mem::take(&mut core.cluster.commands);
        (core, commands)
    }

    /// Handles one event and returns the commands that follow from it, in the order in which to carry them out.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Command> {
        self.cluster.now = now;
        let queues = matches!(&event, Event::User { call, .. } if call.changes());
        self.dispatch(event);
        if queues {
            self.share_workers();
        }
        // After every event, not only on ticks: any of them may free a worker or memory, or queue a job.
        self.schedule();
        if self.cluster.stopping {
            self.stop_idle_jobs();
            self.check_stopped();
        }
        self.file_ended();
        std::mem::take(&mut self.cluster.commands)
    }

    /// Keeps only the records of the jobs that have ended in this event.
    fn file_ended(&mut self) {
        for id in std::mem::take(&mut self.cluster.ended) {
            if let Some(job) = self.jobs.remove(&id) {
                self.catalog.end(job.record);
                self.measure(id);
            }
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::UploadAbandoned(ticket) => self.abandon_upload(ticket),
            Event::Storage(failure) => self.storage_changed(failure),
            Event::Shutdown => self.cluster.stopping = true,
            Event::User { reply_to, caller, call } => self.user_call(reply_to, &caller, call),
            Event::Register { reply_to, registration, identity, secret } => {
                self.register(reply_to, registration, identity, secret);
            }
            Event::Worker(origin, message) => self.worker_message(&origin, message),
            Event::WorkerLost(session, cause) => self.lose_worker(session, &cause),
            Event::PartialOffered(reply_to, header) => {
                let admission = self.admit_partial(&header);
                self.cluster.reply(reply_to, Reply::Admission(admission));
            }
            Event::PartialArrived { reply_to, header, partial, checksum, is_finite } => {
                let outcome = self.take_partial(&header, partial, checksum, is_finite);
                self.cluster.reply(reply_to, Reply::Partial(outcome));
            }
            Event::BlocksOffered(reply_to, header) => {
                let admission = self.admit_blocks(&header);
                self.cluster.reply(reply_to, Reply::BlocksAdmission(admission));
            }
            Event::BlocksArrived { reply_to, header, part, digests, is_finite } => {
                let outcome = self.take_blocks(&header, part, &digests, is_finite);
                self.cluster.reply(reply_to, Reply::Partial(outcome));
            }
            Event::InitialStateOffered { reply_to, origin, job, lengths } => {
                let admission = self.admit_initial_state(&origin, &job, lengths);
                self.cluster.reply(reply_to, Reply::Admission(admission));
            }
            Event::InitialStateArrived { reply_to, origin, job, weights } => {
                let admission = self.take_initial_state(&origin, &job, weights);
                self.cluster.reply(reply_to, Reply::Admission(admission));
            }
            Event::WeightsAsked { reply_to, origin, job } => {
                let admission = self.admit_download(&origin, &job);
                self.cluster.reply(reply_to, Reply::Admission(admission));
            }
            Event::WeightsWaited(origin, job) => self.excuse_waiting(&origin, &job),
            Event::Loaded { job, activation, result } => {
                self.on_job(&job, |cluster, job| cluster.loaded(job, activation, result));
            }
            Event::Advanced { job, activation, advance } => {
                self.on_job(&job, |cluster, job| cluster.advanced(job, activation, *advance));
            }
            Event::Checkpointed { job, activation, outer_step, result } => {
                self.on_job(&job, |cluster, job| cluster.checkpointed(job, activation, outer_step, result))
            }
            Event::Measured { job, bytes } => self.catalog.measured(&job, bytes),
            Event::ReplayDiffers { job, activation, difference } => {
                self.on_job(&job, |_, job| job.replay_differs(activation, &difference));
            }
        }
    }

    /// Handles an event of a job. If the handling stops early, this is the only place that acts on the reason.
    fn of_job<R>(
        &mut self,
        id: &JobId,
        handle: impl FnOnce(&mut Cluster, &mut Job) -> Result<R, Halt>,
    ) -> Result<R, Halt> {
        let Some(job) = self.jobs.get_mut(id) else {
            tracing::debug!(job = %id, "stale event of a job that has ended");
            return Err(Halt::Stale("the job has ended"));
        };
        let result = handle(&mut self.cluster, job);
        match &result {
            // The only place that tells workers of it, whatever has changed the exchange.
            Ok(_) => self.cluster.tell_exchange(job),
            Err(halt) => self.cluster.halt(job, halt),
        }
        result
    }

    /// Handles an event whose sender does not wait for an answer.
    fn on_job(&mut self, id: &JobId, handle: impl FnOnce(&mut Cluster, &mut Job) -> Handled) {
        // `of_job` has already acted on a halt.
        let _: Handled = self.of_job(id, handle);
    }

    fn tick(&mut self) {
        let now = self.cluster.now.elapsed;
        for session in self.cluster.workers.silent(now, self.cluster.config.failure_detection) {
            self.lose_worker(session, &LossCause::Silent);
        }
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.cluster.config.heartbeat_interval();
            self.heartbeats += 1;
            let beat = |(session, _)| Command::Send(session, WorkerCommand::Heartbeat(self.heartbeats));
            self.cluster.commands.extend(self.cluster.workers.iter().map(beat));
            self.tell_waits();
        }
        self.handle_slow_workers();
        self.check_second_identities();
        self.tell_repetitions();
        self.stop_jobs_without_workers();
        self.remove_unused_uploads();
        self.delete_beyond_retention();
        self.share_workers();
    }

    /// Reports once that no job is active any more, after a shutdown was requested.
    fn check_stopped(&mut self) {
        let is_idle = self.jobs.values().all(|job| job.active.is_none());
        if self.cluster.stopping && !self.stopped && is_idle {
            self.stopped = true;
            self.cluster.push(Command::Stopped);
        }
    }
}

#[cfg(test)]
mod tests;
