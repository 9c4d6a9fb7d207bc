//! The durable record of a job, and its notices.

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use serde::{Deserialize, Serialize};

use crate::training::ComputeClass;

/// Milliseconds since 1970-01-01, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for workers.
    Queued,
    /// Workers load model and data; the initial weights are loaded or drawn.
    Preparing,
    /// Outer steps are being computed.
    Running,
    /// Stopped until a user resumes it.
    Paused,
    /// All outer steps are done and the final checkpoint is durable.
    Succeeded,
    /// Ended by an error; the reason is the record's message.
    Failed,
    /// Ended by a user.
    Cancelled,
}

impl JobState {
    /// Whether nothing more can happen to the job.
    pub fn is_terminal(self) -> bool {
        matches!(self, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
    }

    /// The state's name in messages and on the dashboard.
    pub fn name(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Preparing => "preparing",
            JobState::Running => "running",
            JobState::Paused => "paused",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }
}

/// The durable record of a job, stored as JSON. Fields added later have `serde(default)`, so that older records still
/// decode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Identity of the job; the key of the record.
    pub id: JobId,
    /// Number of its creation, counted from 1 within one state folder: defines the order of jobs.
    pub number: u64,
    /// Name of the principal that created it; empty if the coordinator ran without credentials.
    #[serde(default)]
    pub owner: String,
    /// Chosen by the client; a retried creation of the same owner is recognised by it.
    pub request_id: String,
    /// The specification as it was sent: an encoded `lookbehind.v1.JobSpec`.
    pub spec: Vec<u8>,
    /// State of the job when the record was stored.
    pub state: JobState,
    /// Number of durable changes so far; each notice has its own.
    pub revision: u64,
    /// Why it is in this state; may be empty.
    pub message: String,
    /// Time of its creation.
    pub created_at: UnixMillis,
    /// Time at which it reached a terminal state; `None` before.
    pub finished_at: Option<UnixMillis>,
    /// Outer steps done in the newest checkpoint; `None` before the first one.
    pub checkpoint: Option<u64>,
    /// Total number of outer steps; 0 until the data set is known.
    pub total_outer_steps: u64,
    /// The compute class that the job is bound to; `None` until the first worker is prepared.
    pub class: Option<ComputeClass>,
    /// Digest of the final weights; `None` until the job has succeeded.
    pub digest: Option<Digest>,
    /// Whether a pause was requested that takes effect after the current outer step.
    #[serde(default)]
    pub pausing: bool,
    /// Digest of the description of model and data that it began with; absent until a worker has described them.
    #[serde(default)]
    pub description: Option<Digest>,
}

/// A durable event of a job other than an outer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The job's revision from this notice on; with the job, the key of the notice.
    pub revision: u64,
    /// State of the job after the event.
    pub state: JobState,
    /// Description of the event for people.
    pub message: String,
    /// Outer steps done at the time of the event.
    pub outer_step: u64,
    /// Total number of outer steps; 0 until the data set is known.
    pub total_outer_steps: u64,
    /// Digest of the final weights; `None` until the job has succeeded.
    pub digest: Option<Digest>,
    /// Time of the event.
    pub at: UnixMillis,
}
