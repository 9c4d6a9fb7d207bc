//! Answers of the state machine to calls, and the views of jobs and workers that users get.

use std::sync::Arc;

use lookbehind_common::blocks::Blocks;
use lookbehind_common::ids::{FencingToken, JobId, SessionId};

use crate::state::event::Registration;
use crate::state::listing::Place;
use crate::state::record::JobRecord;
use crate::state::storage::StorageFailure;
use crate::state::waits::Wait;

/// Answers to calls.
#[derive(Debug)]
pub enum Reply {
    /// One job, or why the call was refused.
    Job(Box<Result<JobView, CallError>>),
    /// A page of jobs, and where the next one begins if more may follow.
    Jobs(Vec<JobView>, Option<Place>),
    /// What the caller asked for is done, or why it is refused.
    Done(Result<(), CallError>),
    /// The ticket under which a file may be sent, or why it may not.
    Ticket(Result<u64, CallError>),
    /// All registered workers.
    Workers(Vec<WorkerView>),
    /// The fencing token of the new session, or why the worker is refused.
    Registered(Result<FencingToken, Refusal>),
    /// Whether a transfer may begin, or whether a complete upload of initial weights was taken.
    Admission(Admission),
    /// Whether blocks are admitted, and how those that are to come lie in gradient and batch statistics.
    BlocksAdmission(Result<Blocks, Admission>),
    /// What happened to a complete partial.
    Partial(PartialOutcome),
}

/// Why a worker is not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, for people.
    pub reason: String,
    /// Whether a later attempt of the same worker may succeed.
    pub retryable: bool,
}

/// Whether a transfer may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The transfer may begin.
    Granted,
    /// What it belongs to has ended: no error, but the transfer is no longer needed. With the reason.
    Stale(String),
    /// It contradicts what the coordinator knows: an error of the sender. With the reason.
    Refused(String),
}

/// What happened to a partial that was received completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartialOutcome {
    /// It fills its segment.
    Accepted,
    /// Its segment, or a larger one that contains it, was filled already. Not used, and no error.
    Duplicate,
    /// It came too late, or from a worker that is no longer registered. With the reason.
    Stale(String),
    /// It contradicts what the coordinator knows of the request. With the reason.
    Refused(String),
    /// It differs from an earlier partial of the same segment; the job has failed. With the reason.
    Conflict(String),
}

/// The specification in the view of a job. The core has none to give: the runtime reads it from the state folder where
/// it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecView {
    /// It is not wanted.
    Omitted,
    /// It is wanted and not read yet.
    Wanted,
    /// As it was sent: an encoded `lookbehind.v1.JobSpec`.
    Encoded(Vec<u8>),
}

/// A job as users see it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its durable record.
    pub record: JobRecord,
    /// Its specification.
    pub spec: SpecView,
    /// Number of outer steps done, including those after the newest checkpoint.
    pub outer_step: u64,
    /// The outer step up to which it does again what was done before it went on from an earlier checkpoint.
    pub repeats_until: Option<u64>,
    /// Number of workers that serve it now.
    pub workers: u32,
    /// What it waits for, if it does.
    pub waiting_for: Option<Wait>,
}

/// A worker as users see it.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Session under which it is registered.
    pub session: SessionId,
    /// Its name, which no other identity's worker can have.
    pub name: Arc<str>,
    /// What it stated when it registered.
    pub registration: Registration,
    /// The job that it serves; `None` while it is free, or if the caller may not see the job.
    pub job: Option<JobId>,
    /// Whether it serves a job.
    pub busy: bool,
    /// Seconds since the last message or upload from it.
    pub silent_seconds: f64,
    /// Number of shards that it has delivered for that job.
    pub shards_done: u64,
    /// Smoothed seconds per shard of that job, from assignment to delivery; `None` until measured.
    pub seconds_per_shard: Option<f64>,
    /// Whether it has announced that it leaves.
    pub draining: bool,
}

/// Why a user's call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The job does not exist, or belongs to another user: one answer, so that nobody learns which jobs others have.
    #[error("job {0}: not found")]
    NotFound(JobId),
    /// The specification or `request_id` is invalid.
    #[error("{0}")]
    Invalid(#[from] lookbehind_common::job::JobError),
    /// The `request_id` was used before with another specification.
    #[error("request_id {0:?}: was used for a job with another specification")]
    RequestReused(String),
    /// The job has no such checkpoint.
    #[error("job {job}: has no checkpoint{}", .outer_step.map_or(String::new(), |step| format!(" of outer step {step}")))]
    NoCheckpoint {
        /// Identity of the job.
        job: JobId,
        /// The outer step that was asked for; `None` for the newest one.
        outer_step: Option<u64>,
    },
    /// The job keeps no best checkpoint.
    #[error(
        "job {0}: has no best checkpoint: there is none without checkpoint.keep_best, and before the first evaluation"
    )]
    NoBest(JobId),
    /// The call does not fit the job's state.
    #[error("job {job}: cannot {verb} a job that is {state}")]
    WrongState {
        /// Identity of the job.
        job: JobId,
        /// The requested operation, as a verb.
        verb: &'static str,
        /// The current state of the job.
        state: &'static str,
    },
    /// Only jobs that have ended can be deleted.
    #[error("job {job}: cannot delete a job that is {state}; cancel it first")]
    NotEnded {
        /// Identity of the job.
        job: JobId,
        /// The current state of the job.
        state: &'static str,
    },
    /// A limit on what is kept leaves no room.
    #[error("{what}: {used} of the {limit}{unit} that {whose} may have are in use; {remedy}")]
    Full {
        /// What is limited.
        what: &'static str,
        /// Unit of the numbers, with a space before it; empty for a count.
        unit: &'static str,
        /// Who may have it.
        whose: &'static str,
        /// What is in use.
        used: u64,
        /// The maximum.
        limit: u64,
        /// What is needed, and how to make room.
        remedy: String,
    },
    /// A limit is reached.
    #[error("{what}: the limit of {limit} is reached")]
    Exhausted {
        /// What is limited.
        what: &'static str,
        /// The maximum number.
        limit: usize,
    },
    /// Nothing can be stored now: the call had no effect and will have none.
    #[error("{0}; nothing was changed")]
    Storage(StorageFailure),
    /// The call took effect, and then it could not be stored: if the coordinator ends before it can be, the effect is lost.
    #[error("{0}; it is not known whether this takes effect, look again when the state can be stored")]
    Unsettled(StorageFailure),
    /// The state that the answer would report cannot be read.
    #[error("the coordinator's state cannot be read: {0}; try again later")]
    Unreadable(String),
    /// The file to keep was not announced, or was given up meanwhile.
    #[error("the file was not announced")]
    NotAnnounced,
    /// The coordinator shuts down and takes no new jobs.
    #[error("the coordinator is shutting down")]
    Stopping,
}
