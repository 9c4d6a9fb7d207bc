//! JSON of the page: jobs, workers, notices and outer steps as [`lookbehind_proto::json`] has them, with what only the
//! page needs. Times are RFC 3339, durations are in seconds.

use lookbehind_common::job::{JobSpec, Labels};
use lookbehind_proto::json::{self, JobJson, NoticeJson, StepJson, WorkerJson};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use serde::Serialize;

use super::snapshot::JobSnapshot;
use crate::grpc::views;
use crate::observe::{ClusterEvent, ClusterEventKind, DegradedMode};
use crate::state::event::{JobView, WorkerView};
use crate::state::observation::{Fate, Part, RequestTimeline, StepTimeline};
use crate::state::{Caller, JobState, UnixMillis};

/// A time of the coordinator's clock as text.
pub(crate) fn time(at: UnixMillis) -> String {
    json::time(&views::timestamp(at))
}

/// A job, with the essentials of its specification in place of the whole.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PageJob {
    #[serde(flatten)]
    job: JobJson,
    #[serde(flatten)]
    summary: Option<JobSummary>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    /// The newest outer step, if there was one since the coordinator started.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<StepJson>,
    /// The actions that the viewer may take on it in its present state.
    allowed: Vec<&'static str>,
}

/// The essentials of a job's specification.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JobSummary {
    name: String,
    method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rho: Option<f64>,
    batch_size: u64,
    shards: u32,
    model: String,
    data: String,
}

impl PageJob {
    /// A job as a viewer sees it. `caller` is the viewer as a caller, or `None` if they may only read.
    pub(super) fn new(snapshot: &JobSnapshot, caller: Option<&Caller>) -> Self {
        Self {
            job: JobJson::from(&views::job_without_spec(&snapshot.view)),
            summary: snapshot.summary.clone(),
            labels: snapshot.view.record.labels.clone(),
            last: snapshot.last.as_ref().map(StepJson::from),
            allowed: caller.map(|caller| allowed(&snapshot.view, caller)).unwrap_or_default(),
        }
    }
}

impl JobSummary {
    /// The essentials of the specification in a view. `None` if it was not wanted, or is invalid, which would be a defect
    /// of the coordinator, because specifications are checked when jobs are created.
    pub(super) fn of(view: &JobView) -> Option<Self> {
        let spec = views::spec(view)?;
        match wire::from_proto(&spec).and_then(|file| file.validate()) {
            Ok(checked) => Some(summary(&spec.name, &checked)),
            Err(error) => {
                tracing::error!(%error, "internal error: the specification of a job is not valid");
                None
            }
        }
    }
}

fn summary(name: &str, spec: &JobSpec) -> JobSummary {
    let rho = spec.optimizer.method.rho();
    let method = spec.optimizer.method.parts();
    JobSummary {
        name: name.to_owned(),
        method: method.name.as_str(),
        k: method.k,
        rho,
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
        JobState::Failed | JobState::Cancelled => vec!["retry"],
        JobState::Succeeded => Vec::new(),
    }
}

/// A notice of a job.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PageNotice {
    #[serde(flatten)]
    notice: NoticeJson,
    /// Whether it tells of something that is expected again and again: of such notices, only the newest is shown.
    pub(super) routine: bool,
}

impl From<&v1::JobNotice> for PageNotice {
    fn from(notice: &v1::JobNotice) -> Self {
        Self { notice: NoticeJson::from(notice), routine: notice.kind() == v1::NoticeKind::Checkpoint }
    }
}

/// A worker.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PageWorker {
    #[serde(flatten)]
    worker: WorkerJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_per_shard: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_at: Option<String>,
    draining: bool,
}

impl PageWorker {
    pub(super) fn new(view: &WorkerView, joined_at: Option<UnixMillis>) -> Self {
        Self {
            worker: WorkerJson::from(&views::worker(view)),
            seconds_per_shard: view.seconds_per_shard,
            joined_at: joined_at.map(time),
            draining: view.draining,
        }
    }
}

/// A cluster event.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EventJson {
    sequence: u64,
    at: String,
    kind: ClusterEventKind,
    text: String,
    job_id: String,
    worker: String,
}

impl From<(u64, ClusterEvent)> for EventJson {
    fn from((sequence, event): (u64, ClusterEvent)) -> Self {
        let ClusterEvent { at, kind, text, job, worker } = event;
        Self { sequence, at: time(at), kind, text, job_id: job, worker }
    }
}

/// A degraded mode of the coordinator.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DegradedJson {
    mode: DegradedMode,
    reason: String,
}

impl From<(DegradedMode, String)> for DegradedJson {
    fn from((mode, reason): (DegradedMode, String)) -> Self {
        Self { mode, reason }
    }
}

/// Timeline of an outer step, in seconds from its beginning.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TimelineJson {
    outer_step: u64,
    /// Length of the outer step, as in its time split.
    total: f64,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<f64>,
    compute: f64,
    data: f64,
    outcome: &'static str,
}

impl From<&StepTimeline> for TimelineJson {
    fn from(timeline: &StepTimeline) -> Self {
        Self {
            outer_step: timeline.outer_step,
            total: timeline.length.as_secs_f64(),
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
