//! Jobs, workers, notices and outer steps as JSON: one form for the command line and for the coordinator's HTTP
//! interface.
//!
//! Keys are the field names of the protocol, enums the lower-case names of their values, times RFC 3339 in UTC. Fields
//! that can be absent in the protocol (messages, and fields that are marked `optional`) are omitted when they are absent;
//! all other fields are always there. `docs/json.md` lists the keys.

use lookbehind_common::job::JobFile;
use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::v1;
use crate::wire;

/// `Job`.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct JobJson {
    pub id: String,
    /// The specification as a job file. Absent also if this build does not know one of its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<JobFile>,
    pub state: &'static str,
    pub revision: u64,
    pub message: String,
    pub outer_step: u64,
    pub total_outer_steps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    pub workers: u32,
    pub digest: String,
    pub owner: String,
    pub repeats_until: u64,
    pub waiting_for: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<ResultsJson>,
}

/// `JobResults`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct ResultsJson {
    pub outer_step: u64,
    pub loss: f64,
    pub accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestJson>,
    pub test_outer_step: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<BestJson>,
}

/// `BestResult`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct BestJson {
    pub outer_step: u64,
    pub metric: &'static str,
    pub value: f64,
}

/// `Worker`.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct WorkerJson {
    pub session: u64,
    pub name: String,
    pub version: String,
    pub device: String,
    pub job_id: String,
    pub silent_seconds: f64,
    pub shards_done: u64,
    pub busy: bool,
}

/// `Checkpoint`.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct CheckpointJson {
    pub outer_step: u64,
    pub epoch: u64,
    pub digest: String,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_at: Option<String>,
}

/// `JobNotice`.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct NoticeJson {
    pub revision: u64,
    pub kind: &'static str,
    pub state: &'static str,
    pub message: String,
    pub outer_step: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub total_outer_steps: u64,
    pub digest: String,
}

/// `OuterStepMetrics`; also a line of `metrics.jsonl`. Equal jobs have equal lines except for `workers` and what
/// follows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct StepJson {
    pub outer_step: u64,
    pub epoch: u64,
    pub loss: f64,
    pub last_loss: f64,
    pub accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_shard_gradient_norm: Option<f64>,
    pub learning_rate: f64,
    pub alpha: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_max: Option<f64>,
    pub samples: u64,
    pub gradients: u32,
    pub exchanged: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<TestJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<TestJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memorised: Option<TestJson>,
    pub digest: String,
    pub first_sample: u64,
    pub compute_class: String,
    pub workers: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeJson>,
}

/// `TimeSplit`, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct TimeJson {
    pub total: f64,
    pub compute: f64,
    pub communication: f64,
    pub optimizer: f64,
    pub waiting: f64,
    pub data: f64,
}

/// `TestMetrics`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the protocol's, documented there")]
pub struct TestJson {
    pub loss: f64,
    pub accuracy: f64,
    pub samples: u64,
}

/// The name of a state: that of the protocol in lower case, without its prefix.
pub fn state_name(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unspecified",
        v1::JobState::Queued => "queued",
        v1::JobState::Preparing => "preparing",
        v1::JobState::Running => "running",
        v1::JobState::Paused => "paused",
        v1::JobState::Succeeded => "succeeded",
        v1::JobState::Failed => "failed",
        v1::JobState::Cancelled => "cancelled",
    }
}

/// The name of a notice's kind.
fn kind_name(kind: v1::NoticeKind) -> &'static str {
    match kind {
        v1::NoticeKind::Unspecified => "unspecified",
        v1::NoticeKind::State => "state",
        v1::NoticeKind::Checkpoint => "checkpoint",
        v1::NoticeKind::CheckpointFailed => "checkpoint_failed",
        v1::NoticeKind::Storage => "storage",
        v1::NoticeKind::Event => "event",
    }
}

/// The state with a name of [`state_name`].
pub fn state_named(name: &str) -> Option<v1::JobState> {
    const STATES: [v1::JobState; 7] = [
        v1::JobState::Queued,
        v1::JobState::Preparing,
        v1::JobState::Running,
        v1::JobState::Paused,
        v1::JobState::Succeeded,
        v1::JobState::Failed,
        v1::JobState::Cancelled,
    ];
    STATES.into_iter().find(|state| state_name(*state) == name)
}

/// A time as text: RFC 3339 in UTC.
pub fn time(at: &Timestamp) -> String {
    at.to_string()
}

impl From<&v1::Job> for JobJson {
    fn from(job: &v1::Job) -> Self {
        Self {
            id: job.id.clone(),
            spec: job.spec.as_ref().and_then(|spec| wire::from_proto(spec).ok()),
            state: state_name(job.state()),
            revision: job.revision,
            message: job.message.clone(),
            outer_step: job.outer_step,
            total_outer_steps: job.total_outer_steps,
            created_at: job.created_at.as_ref().map(time),
            finished_at: job.finished_at.as_ref().map(time),
            workers: job.workers,
            digest: job.digest.clone(),
            owner: job.owner.clone(),
            repeats_until: job.repeats_until,
            waiting_for: job.waiting_for.clone(),
            results: job.results.as_ref().map(ResultsJson::from),
        }
    }
}

impl From<&v1::JobResults> for ResultsJson {
    fn from(results: &v1::JobResults) -> Self {
        Self {
            outer_step: results.outer_step,
            loss: results.loss,
            accuracy: results.accuracy,
            test: results.test.as_ref().map(TestJson::from),
            test_outer_step: results.test_outer_step,
            best: results.best.as_ref().map(BestJson::from),
        }
    }
}

impl From<&v1::BestResult> for BestJson {
    fn from(best: &v1::BestResult) -> Self {
        let v1::BestResult { outer_step, value, .. } = *best;
        Self { outer_step, metric: wire::criterion_name(best.metric()), value }
    }
}

impl From<&v1::Worker> for WorkerJson {
    fn from(worker: &v1::Worker) -> Self {
        Self {
            session: worker.session,
            name: worker.name.clone(),
            version: worker.version.clone(),
            device: worker.device.clone(),
            job_id: worker.job_id.clone(),
            silent_seconds: worker.silent_seconds,
            shards_done: worker.shards_done,
            busy: worker.busy,
        }
    }
}

impl From<&v1::Checkpoint> for CheckpointJson {
    fn from(checkpoint: &v1::Checkpoint) -> Self {
        Self {
            outer_step: checkpoint.outer_step,
            epoch: checkpoint.epoch,
            digest: checkpoint.digest.clone(),
            bytes: checkpoint.bytes,
            written_at: checkpoint.written_at.as_ref().map(time),
        }
    }
}

impl From<&v1::JobNotice> for NoticeJson {
    fn from(notice: &v1::JobNotice) -> Self {
        Self {
            revision: notice.revision,
            kind: kind_name(notice.kind()),
            state: state_name(notice.state()),
            message: notice.message.clone(),
            outer_step: notice.outer_step,
            at: notice.at.as_ref().map(time),
            total_outer_steps: notice.total_outer_steps,
            digest: notice.digest.clone(),
        }
    }
}

impl From<&v1::OuterStepMetrics> for StepJson {
    fn from(step: &v1::OuterStepMetrics) -> Self {
        Self {
            outer_step: step.outer_step,
            epoch: step.epoch,
            loss: step.loss,
            last_loss: step.last_loss,
            accuracy: step.accuracy,
            gradient_norm: step.gradient_norm,
            mean_shard_gradient_norm: step.mean_shard_gradient_norm,
            learning_rate: step.learning_rate,
            alpha: step.alpha,
            alpha_min: step.alpha_min,
            alpha_max: step.alpha_max,
            samples: step.samples,
            gradients: step.gradients,
            exchanged: step.exchanged,
            test: step.test.as_ref().map(TestJson::from),
            validation: step.validation.as_ref().map(TestJson::from),
            clean: step.clean.as_ref().map(TestJson::from),
            memorised: step.memorised.as_ref().map(TestJson::from),
            digest: step.digest.clone(),
            first_sample: step.first_sample,
            compute_class: step.compute_class.clone(),
            workers: step.workers,
            time: step.time.as_ref().map(TimeJson::from),
        }
    }
}

impl From<&v1::TimeSplit> for TimeJson {
    fn from(time: &v1::TimeSplit) -> Self {
        Self {
            total: time.total,
            compute: time.compute,
            communication: time.communication,
            optimizer: time.optimizer,
            waiting: time.waiting,
            data: time.data,
        }
    }
}

impl From<&v1::TestMetrics> for TestJson {
    fn from(test: &v1::TestMetrics) -> Self {
        Self { loss: test.loss, accuracy: test.accuracy, samples: test.samples }
    }
}

#[cfg(test)]
mod tests;
