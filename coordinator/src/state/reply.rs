//! What the state machine answers to calls, and what users see of jobs and workers.

use std::sync::Arc;

use lookbehind_common::ids::{FencingToken, JobId, SessionId};

use lookbehind_proto::v1;

use crate::state::event::Registration;
use crate::state::record::JobRecord;

/// Answers to calls.
#[derive(Debug)]
pub enum Reply {
    /// A job.
    Job(Box<Result<JobView, CallError>>),
    /// A page of jobs and the creation number of the last, if more follow.
    Jobs(Vec<JobView>, Option<u64>),
    /// The workers.
    Workers(Vec<WorkerView>),
    /// A registration.
    Registered(Result<FencingToken, Refusal>),
    /// Whether an upload may begin.
    Admission(Admission),
    /// What became of a partial.
    Partial(PartialOutcome),
}

/// Why a worker is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// Whether trying again later can help.
    pub retryable: bool,
}

/// Whether a transfer may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Granted,
    /// What it belongs to is over: nothing is wrong, nothing is wanted.
    Stale(String),
    /// It contradicts what the coordinator knows.
    Refused(String),
}

/// What became of a partial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartialOutcome {
    /// It fills its segment.
    Accepted,
    /// The segment was filled already, with the same bytes.
    Duplicate,
    /// It came too late or from a worker that is no longer in the cluster.
    Stale(String),
    /// It contradicts what the coordinator knows of the work.
    Refused(String),
    /// It contradicts an earlier one; the job has failed.
    Conflict(String),
}

/// A job as users see it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// What is stored of it.
    pub record: JobRecord,
    /// What was asked for.
    pub spec: Arc<v1::JobSpec>,
    /// Outer steps done.
    pub outer_step: u64,
    /// Workers that it has.
    pub workers: u32,
}

/// A worker as users see it.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its registration.
    pub session: SessionId,
    /// How it introduced itself.
    pub registration: Registration,
    /// The job that it serves.
    pub job: Option<JobId>,
    /// Seconds since its last sign of life.
    pub silent_seconds: f64,
    /// Shards computed for that job.
    pub shards_done: u64,
    /// Seconds from being asked for a shard of that job to having delivered it, smoothed, once measured.
    pub seconds_per_shard: Option<f64>,
    /// Whether it takes no more work.
    pub draining: bool,
}

/// Why a user's call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such job.
    #[error("job {0}: not found")]
    NotFound(JobId),
    /// The job is somebody else's.
    #[error("job {0}: belongs to another user")]
    NotTheirs(JobId),
    /// The job's specification is wrong.
    #[error("{0}")]
    Invalid(#[from] lookbehind_common::job::JobError),
    /// The same request_id came with another job.
    #[error("request_id {0:?}: was used for a job with another specification")]
    RequestReused(String),
    /// The call does not fit the job's state.
    #[error("job {job}: cannot {verb} a job that is {state}")]
    WrongState {
        /// The job.
        job: JobId,
        /// What was asked for.
        verb: &'static str,
        /// The state that it is in.
        state: &'static str,
    },
    /// A limit is reached.
    #[error("{what}: the limit of {limit} is reached")]
    Exhausted {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// What the answer would say cannot be made durable now.
    #[error("the coordinator's state cannot be stored: {0}; try again later")]
    NotStored(String),
    /// The coordinator is ending.
    #[error("the coordinator is shutting down")]
    Stopping,
}
