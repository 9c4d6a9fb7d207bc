//! The durable record of a job, and its notices.

use std::collections::BTreeSet;
use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::Labels;
use serde::{Deserialize, Serialize};

use super::results::Results;
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
    /// Whether the job has ended. One that has failed or was cancelled goes on only if it is retried.
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

/// What a notice is about. Programs tell notices apart by it, never by their text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Not known: a version stored it whose notices had no kinds.
    #[default]
    Unknown,
    /// The job was created, or its state has changed.
    State,
    /// A checkpoint is durable.
    Checkpoint,
    /// A checkpoint could not be written.
    CheckpointFailed,
    /// Training waits because its results cannot be stored, or goes on because they can be again.
    Storage,
    /// Something else, mostly of its workers.
    Event,
}

/// The durable record of a job, stored as JSON: all of it but its specification, which may be large and never changes.
/// Fields added later have `serde(default)`, so that older records still decode.
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
    /// Size in bytes of its specification.
    pub spec_bytes: u64,
    /// Digest of its specification, by which a retried creation is told from another one.
    pub spec_digest: Digest,
    /// The uploaded file that it starts from; `None` if it starts from something else.
    pub init: Option<Digest>,
    /// The checkpoint of another job that it starts from; `None` if it starts from something else.
    #[serde(default)]
    pub initial_checkpoint: Option<InitialCheckpoint>,
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
    /// Shards that two workers computed with equal bytes; see `resources.verify`.
    #[serde(default)]
    pub verified: u64,
    /// Its name, as in its specification. Older versions did not store it; a start then reads it from there.
    #[serde(default)]
    pub name: String,
    /// Its labels, as in its specification.
    #[serde(default)]
    pub labels: Labels,
    /// Its newest results; `None` before its first outer step.
    #[serde(default)]
    pub results: Option<Results>,
}

/// The checkpoint of another job that a job starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialCheckpoint {
    /// Identity of the other job.
    pub job: JobId,
    /// Outer steps done at the checkpoint.
    pub outer_step: u64,
    /// Whether the job goes on there, with the state of the optimizer and the position in the data.
    pub continues: bool,
}

/// A durable event of a job other than an outer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The job's revision from this notice on; with the job, the key of the notice.
    pub revision: u64,
    /// What it is about.
    #[serde(default)]
    pub kind: NoticeKind,
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

/// The durable record of an uploaded file, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Digest of the file's content; its name.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Name of the principal that sent it last, to whose share it counts; empty without credentials.
    pub owner: String,
    /// Names of all principals that have sent it; of records of older versions, the last one alone is known.
    #[serde(default)]
    pub senders: BTreeSet<String>,
    /// When it was sent last.
    pub sent_at: UnixMillis,
    /// Whether a job that starts from it was created since it was sent last.
    pub claimed: bool,
}

impl UploadRecord {
    /// All principals that are known to have sent the file.
    pub(crate) fn senders(&self) -> impl Iterator<Item = &str> {
        self.senders.iter().map(String::as_str).chain([self.owner.as_str()])
    }

    /// The same, of a record that another one replaces.
    pub(crate) fn into_senders(self) -> BTreeSet<String> {
        let Self { mut senders, owner, .. } = self;
        senders.insert(owner);
        senders
    }
}

/// A job in the state folder, as it is read at a start.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    /// Its record.
    pub record: JobRecord,
    /// Its specification, an encoded `lookbehind.v1.JobSpec`; `None` if the job has ended.
    pub spec: Option<Vec<u8>>,
}

/// What a start finds in the state folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// All jobs.
    pub jobs: Vec<StoredJob>,
    /// All uploaded files that have a record.
    pub uploads: Vec<UploadRecord>,
    /// Digest and size in bytes of uploaded files that have none: those of older versions, and one whose record was not
    /// stored any more when the process ended.
    pub unrecorded_uploads: Vec<(Digest, u64)>,
}

/// A durable change of a job, stored in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct JobChange {
    /// The new record.
    pub record: JobRecord,
    /// The encoded specification of a job that is new; `None` if it is stored already.
    pub spec: Option<Arc<[u8]>>,
    /// What happened, oldest first.
    pub notices: Vec<Notice>,
}

/// A queued job of a number, for tests.
#[cfg(test)]
pub(crate) fn record_for_tests(number: u64) -> JobRecord {
    JobRecord {
        id: JobId::from_entropy(number),
        number,
        owner: String::new(),
        request_id: format!("request-{number}"),
        spec_bytes: 3,
        spec_digest: Digest::of(&[1, 2, 3]),
        init: None,
        initial_checkpoint: None,
        state: JobState::Queued,
        revision: 1,
        message: String::new(),
        created_at: UnixMillis(5),
        finished_at: None,
        checkpoint: None,
        total_outer_steps: 0,
        class: None,
        digest: None,
        pausing: false,
        description: None,
        verified: 0,
        name: format!("job {number}"),
        labels: Labels::new(),
        results: None,
    }
}
