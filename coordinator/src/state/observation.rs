//! Observations: what the core reports to metrics, traces and the dashboard. No decision depends on them.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;

use crate::state::event::{Busy, LossCause};
use crate::state::record::{JobState, NoticeKind};

/// One report.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A worker has registered: its session and name.
    WorkerJoined(SessionId, Arc<str>),
    /// A worker was refused: its name, cut to a printable form, and the reason.
    WorkerRefused(String, String),
    /// A worker was lost.
    WorkerLost(LostWorker),
    /// A worker has announced that it leaves: its name and the job that it served.
    WorkerLeaves(Arc<str>, Option<JobId>),
    /// A job has changed its state, or was created or restored in this incarnation.
    JobMoved(JobMove),
    /// A job that had ended was deleted: its last state.
    JobDeleted(JobId, JobState),
    /// A notice of a job: its kind and text.
    JobNoted(JobId, NoticeKind, String),
    /// An outer step is done.
    StepDone {
        /// Identity of the job.
        job: JobId,
        /// Requests of the step and who computed them when.
        timeline: Box<StepTimeline>,
        /// Metrics of the step, as they are recorded.
        metrics: Box<v1::OuterStepMetrics>,
        /// Total number of outer steps of the job.
        outer_steps: u64,
    },
}

/// A worker that was lost.
#[derive(Clone, Debug)]
pub struct LostWorker {
    /// Session under which it was registered.
    pub session: SessionId,
    /// Name of the worker.
    pub worker: Arc<str>,
    /// How the loss was detected.
    pub cause: LossCause,
    /// The job that it served; `None` if it was free.
    pub job: Option<JobId>,
    /// Whether it had announced that it leaves: then its loss is expected.
    pub draining: bool,
}

/// A change of a job's state.
#[derive(Clone, Debug)]
pub struct JobMove {
    /// Identity of the job.
    pub job: JobId,
    /// The previous state; `None` for a job that was just created or restored.
    pub from: Option<JobState>,
    /// The new state.
    pub to: JobState,
    /// How long it was in the previous state within this incarnation; `None` where `from` is.
    pub after: Option<Duration>,
    /// `name` of its specification; empty for a job that was restored.
    pub name: String,
    /// Name of the principal that created it; empty without credentials.
    pub owner: String,
    /// Why it is in the new state.
    pub message: String,
}

/// Timeline of an outer step. All times count from the beginning of the step.
#[derive(Clone, Debug, Default)]
pub struct StepTimeline {
    /// Number of outer steps done after this one.
    pub outer_step: u64,
    /// Duration of the step.
    pub length: Duration,
    /// Requests of the step, in order.
    pub requests: Vec<RequestTimeline>,
}

/// Timeline of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestTimeline {
    /// Index of the request in its outer step.
    pub index: u32,
    /// Whether it is a test request.
    pub test: bool,
    /// Number of shards of the request.
    pub shards: u32,
    /// When it was issued.
    pub begun: Duration,
    /// When it was complete.
    pub gathered: Duration,
    /// Seconds that the coordinator took to add the partials.
    pub reduction: f64,
    /// Seconds that the optimizer took for the step after it.
    pub optimizer: f64,
    /// How its partials came together.
    pub way: Way,
    /// The assignments of its segments; only the first ones if there are very many.
    pub parts: Vec<Part>,
}

/// How the partials of a request come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Workers upload them to the coordinator, which adds them.
    #[default]
    Coordinator,
    /// Workers exchange them with each other.
    Workers,
    /// Workers began to exchange them with each other, and the coordinator took over some blocks.
    TakenOver,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Coordinator, Self::Workers, Self::TakenOver];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Workers => "workers",
            Self::TakenOver => "taken_over",
        }
    }
}

/// One segment assigned to one worker.
#[derive(Clone, Debug)]
pub struct Part {
    /// Name of the worker.
    pub worker: Arc<str>,
    /// Session of the worker.
    pub session: SessionId,
    /// The assigned segment.
    pub segment: Segment,
    /// When it was assigned.
    pub assigned: Duration,
    /// When its partial arrived; `None` if none did.
    pub delivered: Option<Duration>,
    /// Time that the worker spent on it; zero if it delivered nothing.
    pub busy: Busy,
    /// Whether it was assigned because another worker was late with it (speculation).
    pub again: bool,
    /// Outcome of the assignment.
    pub fate: Fate,
}

/// Outcome of an assigned segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing was delivered: the request is still open, or others completed it first.
    Asked,
    /// The partial filled its segment.
    Used,
    /// The segment was filled before the partial arrived.
    Duplicate,
    /// The worker left the job before it delivered.
    Lost,
    /// The worker reported that it could not compute the segment.
    Failed,
}
