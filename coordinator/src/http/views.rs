//! JSON types of the page. Times are in milliseconds since 1970 or in seconds, as their names say.

use lookbehind_common::job::JobSpec;
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use serde::Serialize;

use super::snapshot::JobSnapshot;
use crate::observe::{ClusterEvent, ClusterEventKind};
use crate::state::event::{JobView, WorkerView};
use crate::state::observation::{Fate, Part, RequestTimeline, StepTimeline};
use crate::state::{Caller, JobState, UnixMillis};

/// A job.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JobJson {
    id: String,
    owner: String,
    state: JobState,
    message: String,
    outer_step: u64,
    total_outer_steps: u64,
    created_ms: UnixMillis,
    finished_ms: Option<UnixMillis>,
    workers: u32,
    #[serde(flatten)]
    summary: Option<JobSummary>,
    digest: String,
    last: Option<StepJson>,
    /// The actions that the viewer may take on it in its present state.
    allowed: Vec<&'static str>,
}

/// The essentials of a job's specification.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JobSummary {
    name: String,
    method: &'static str,
    k: Option<u32>,
    rho: Option<f64>,
    batch_size: u64,
    shards: u32,
    model: String,
    data: String,
}

impl JobJson {
    /// A job as a viewer sees it. `caller` is the viewer as a caller, or `None` if they may only read.
    pub(super) fn new(snapshot: &JobSnapshot, caller: Option<&Caller>) -> Self {
        let (view, record) = (&snapshot.view, &snapshot.view.record);
        Self {
            id: record.id.to_string(),
            owner: record.owner.clone(),
            state: record.state,
            message: record.message.clone(),
            outer_step: view.outer_step,
            total_outer_steps: record.total_outer_steps,
            created_ms: record.created_at,
            finished_ms: record.finished_at,
            workers: view.workers,
            summary: snapshot.summary.clone(),
            digest: record.digest.map(String::from).unwrap_or_default(),
            last: snapshot.last.as_ref().map(StepJson::from),
            allowed: caller.map(|caller| allowed(view, caller)).unwrap_or_default(),
        }
    }
}

impl JobSummary {
    /// The essentials of a specification. `None` if it is invalid, which would be a defect of the coordinator, because
    /// specifications are checked when jobs are created.
    pub(super) fn of(spec: &v1::JobSpec) -> Option<Self> {
        match wire::from_proto(spec).and_then(|file| file.validate()) {
            Ok(checked) => Some(summary(&spec.name, &checked)),
            Err(error) => {
                tracing::error!(%error, "internal error: the specification of a job is not valid");
                None
            }
        }
    }
}

fn summary(name: &str, spec: &JobSpec) -> JobSummary {
    let method = spec.optimizer.method.parts();
    JobSummary {
        name: name.to_owned(),
        method: method.name.as_str(),
        k: method.k,
        rho: method.ascent.map(|ascent| ascent.rho),
        batch_size: spec.train.batch_size,
        shards: spec.train.shards,
        model: spec.model.kind.clone(),
        data: spec.data.kind.clone(),
    }
}

fn allowed(view: &JobView, caller: &Caller) -> Vec<&'static str> {
    if !caller.may_access(&view.record.owner) {
        return Vec::new();
    }
    match view.record.state {
        JobState::Queued | JobState::Preparing => vec!["pause", "cancel"],
        JobState::Running if view.record.pausing => vec!["resume", "cancel"],
        JobState::Running => vec!["pause", "cancel"],
        JobState::Paused => vec!["resume", "cancel"],
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => Vec::new(),
    }
}

/// An outer step.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StepJson {
    pub(super) outer_step: u64,
    epoch: u64,
    loss: f64,
    last_loss: f64,
    /// Increase of the loss along the path of ascent.
    sharpness: f64,
    accuracy: f64,
    gradient_norm: f64,
    alpha: f64,
    learning_rate: f64,
    samples: u64,
    gradients: u32,
    workers: u32,
    seconds: SecondsJson,
    test: Option<TestJson>,
    digest: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct SecondsJson {
    total: f64,
    compute: f64,
    data: f64,
    communication: f64,
    optimizer: f64,
    waiting: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct TestJson {
    loss: f64,
    accuracy: f64,
}

impl From<&v1::OuterStepMetrics> for StepJson {
    #[expect(
        clippy::expect_used,
        reason = "the state machine gives every step its times, and the journal refuses others"
    )]
    fn from(step: &v1::OuterStepMetrics) -> Self {
        let time = step.time.expect("an outer step has its times");
        Self {
            outer_step: step.outer_step,
            epoch: step.epoch,
            loss: step.loss,
            last_loss: step.last_loss,
            sharpness: step.last_loss - step.loss,
            accuracy: step.accuracy,
            gradient_norm: step.gradient_norm,
            alpha: step.alpha,
            learning_rate: step.learning_rate,
            samples: step.samples,
            gradients: step.gradients,
            workers: step.workers,
            seconds: SecondsJson {
                total: time.total,
                compute: time.compute,
                data: time.data,
                communication: time.communication,
                optimizer: time.optimizer,
                waiting: time.waiting,
            },
            test: step.test.map(|test| TestJson { loss: test.loss, accuracy: test.accuracy }),
            digest: step.digest.clone(),
        }
    }
}

impl StepJson {
    /// Whether the test split was evaluated after this outer step.
    pub(super) fn is_tested(&self) -> bool {
        self.test.is_some()
    }
}

/// A durable event of a job.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NoticeJson {
    revision: u64,
    state: String,
    message: String,
    outer_step: u64,
    at_ms: i64,
}

impl From<&v1::JobNotice> for NoticeJson {
    fn from(notice: &v1::JobNotice) -> Self {
        let state = notice.state().as_str_name().trim_start_matches("JOB_STATE_").to_ascii_lowercase();
        let at = notice.at.unwrap_or_default();
        Self {
            revision: notice.revision,
            state,
            message: notice.message.clone(),
            outer_step: notice.outer_step,
            at_ms: at.seconds * 1000 + i64::from(at.nanos / 1_000_000),
        }
    }
}

/// A worker.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WorkerJson {
    session: u64,
    name: String,
    device: String,
    version: String,
    job_id: String,
    silent_seconds: f64,
    shards_done: u64,
    seconds_per_shard: Option<f64>,
    joined_ms: Option<UnixMillis>,
    draining: bool,
}

impl WorkerJson {
    pub(super) fn new(view: &WorkerView, joined_ms: Option<UnixMillis>) -> Self {
        Self {
            session: view.session.0,
            name: view.registration.name.clone(),
            device: view.registration.device.clone(),
            version: view.registration.version.clone(),
            job_id: view.job.as_ref().map(|job| job.to_string()).unwrap_or_default(),
            silent_seconds: view.silent_seconds,
            shards_done: view.shards_done,
            seconds_per_shard: view.seconds_per_shard,
            joined_ms,
            draining: view.draining,
        }
    }
}

/// A cluster event.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EventJson {
    sequence: u64,
    at_ms: UnixMillis,
    kind: ClusterEventKind,
    text: String,
    job_id: String,
    worker: String,
}

impl From<(u64, ClusterEvent)> for EventJson {
    fn from((sequence, event): (u64, ClusterEvent)) -> Self {
        let ClusterEvent { at, kind, text, job, worker } = event;
        Self { sequence, at_ms: at, kind, text, job_id: job, worker }
    }
}

/// Timeline of an outer step, in seconds from its beginning.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TimelineJson {
    outer_step: u64,
    seconds: f64,
    requests: Vec<RequestJson>,
}

#[derive(Clone, Debug, Serialize)]
struct RequestJson {
    index: u32,
    kind: &'static str,
    shards: u32,
    begun: f64,
    gathered: f64,
    advanced: f64,
    parts: Vec<PartJson>,
}

#[derive(Clone, Debug, Serialize)]
struct PartJson {
    worker: String,
    first_shard: u32,
    end_shard: u32,
    assigned: f64,
    delivered: Option<f64>,
    compute: f64,
    data: f64,
    outcome: &'static str,
}

impl From<&StepTimeline> for TimelineJson {
    fn from(timeline: &StepTimeline) -> Self {
        Self {
            outer_step: timeline.outer_step,
            seconds: timeline.length.as_secs_f64(),
            requests: timeline.requests.iter().map(RequestJson::from).collect(),
        }
    }
}

impl From<&RequestTimeline> for RequestJson {
    fn from(request: &RequestTimeline) -> Self {
        let gathered = request.gathered.as_secs_f64();
        Self {
            index: request.index,
            kind: if request.test { "test" } else { "gradient" },
            shards: request.shards,
            begun: request.begun.as_secs_f64(),
            gathered,
            advanced: gathered + request.reduction + request.optimizer,
            parts: request.parts.iter().map(PartJson::from).collect(),
        }
    }
}

impl From<&Part> for PartJson {
    fn from(part: &Part) -> Self {
        let outcome = match part.fate {
            Fate::Used => "used",
            // Assigned to another worker as well, which was faster. The result was not needed.
            Fate::Duplicate | Fate::Asked => "duplicate",
            Fate::Lost => "lost",
            Fate::Failed => "failed",
        };
        Self {
            worker: part.worker.to_string(),
            first_shard: part.segment.first,
            end_shard: part.segment.end,
            assigned: part.assigned.as_secs_f64(),
            delivered: part.delivered.map(|delivered| delivered.as_secs_f64()),
            compute: part.busy.compute,
            data: part.busy.data,
            outcome,
        }
    }
}
