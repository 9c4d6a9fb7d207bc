//! What is stored of a job.

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use serde::{Deserialize, Serialize};

use crate::training::ComputeClass;

/// Milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for workers.
    Queued,
    /// Workers load model and data.
    Preparing,
    /// Training.
    Running,
    /// Stopped by its user, to be resumed.
    Paused,
    /// Finished.
    Succeeded,
    /// Ended by an error.
    Failed,
    /// Ended by its user.
    Cancelled,
}

impl JobState {
    /// Whether nothing more can happen to the job.
    pub fn is_terminal(self) -> bool {
        matches!(self, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
    }

    /// For people.
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

/// What is stored of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Identity.
    pub id: JobId,
    /// Counts the jobs of this state, from 1: their order.
    pub number: u64,
    /// Who created it; empty where nobody was asked who they are.
    #[serde(default)]
    pub owner: String,
    /// Makes a retried creation of the same owner's recognisable.
    pub request_id: String,
    /// The specification as it was sent: an encoded `lookbehind.v1.JobSpec`.
    pub spec: Vec<u8>,
    /// Where it stands.
    pub state: JobState,
    /// Counts its durable changes.
    pub revision: u64,
    /// Why it is in this state; empty where nothing needs saying.
    pub message: String,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was over.
    pub finished_at: Option<UnixMillis>,
    /// Outer steps of the newest checkpoint; `None` before the first.
    pub checkpoint: Option<u64>,
    /// Outer steps in all, once the data set is known.
    pub total_outer_steps: u64,
    /// The class that the job is bound to.
    pub class: Option<ComputeClass>,
    /// Digest of the final weights.
    pub digest: Option<Digest>,
    /// Whether its user wants it paused after the outer step in hand.
    #[serde(default)]
    pub pausing: bool,
    /// Digest of the description of model and data that it began with; absent until a worker has described them.
    #[serde(default)]
    pub description: Option<Digest>,
}

/// A durable event of a job other than a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The job's revision with it.
    pub revision: u64,
    /// State of the job then.
    pub state: JobState,
    /// In words.
    pub message: String,
    /// Outer steps done then.
    pub outer_step: u64,
    /// Outer steps in all.
    pub total_outer_steps: u64,
    /// Digest of the final weights, once there are any.
    pub digest: Option<Digest>,
    /// When.
    pub at: UnixMillis,
}
