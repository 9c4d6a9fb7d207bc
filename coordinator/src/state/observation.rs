//! What those learn who watch: metrics, traces, the dashboard. Nothing depends on whether it is heard.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;

use crate::state::event::{Busy, LossCause};
use crate::state::record::JobState;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A worker has joined.
    WorkerJoined(SessionId, Arc<str>),
    /// A worker was not let in.
    WorkerRefused(String, String),
    /// A worker is gone.
    WorkerLost(LostWorker),
    /// A worker leaves by itself, and the job that it served.
    WorkerLeaves(Arc<str>, Option<JobId>),
    /// A job is in another state, or new to this start of the coordinator.
    JobMoved(JobMove),
    /// Something is new about a job, in words.
    JobNoted(JobId, String),
    /// An outer step is done.
    StepDone {
        /// The job.
        job: JobId,
        /// When it did what.
        timeline: Box<StepTimeline>,
        /// Its metrics.
        metrics: Box<v1::OuterStepMetrics>,
        /// Outer steps of the job in all.
        outer_steps: u64,
    },
}

/// A worker that is gone.
#[derive(Clone, Debug)]
pub struct LostWorker {
    /// Its registration.
    pub session: SessionId,
    /// Its name.
    pub worker: Arc<str>,
    /// Which path noticed it.
    pub cause: LossCause,
    /// The job that it served.
    pub job: Option<JobId>,
    /// Whether it had said that it would leave.
    pub draining: bool,
}

/// A job's change of state.
#[derive(Clone, Debug)]
pub struct JobMove {
    /// The job.
    pub job: JobId,
    /// The state that it was in; `None` for one that is new to this start of the coordinator.
    pub from: Option<JobState>,
    /// The state that it is in.
    pub to: JobState,
    /// How long it was in the state before, as far as this start of the coordinator knows.
    pub after: Option<Duration>,
}

/// When an outer step did what. All times count from its beginning.
#[derive(Clone, Debug, Default)]
pub struct StepTimeline {
    /// Outer steps done with it.
    pub outer_step: u64,
    /// How long it took.
    pub length: Duration,
    /// Its requests, in order.
    pub requests: Vec<RequestTimeline>,
}

/// When a request was done by whom.
#[derive(Clone, Debug, Default)]
pub struct RequestTimeline {
    /// Its number in the outer step.
    pub index: u32,
    /// Whether it was a pass over the test split.
    pub test: bool,
    /// Shards that it was cut into.
    pub shards: u32,
    /// When it was given out.
    pub begun: Duration,
    /// When the last partial had come.
    pub gathered: Duration,
    /// Seconds that the coordinator took to sum the partials.
    pub reduction: f64,
    /// Seconds that it took for the step of the optimizer.
    pub optimizer: f64,
    /// Who was asked for what.
    pub parts: Vec<Part>,
}

/// What a worker was asked for.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name.
    pub worker: Arc<str>,
    /// Its registration.
    pub session: SessionId,
    /// The shards.
    pub segment: Segment,
    /// When it was asked.
    pub assigned: Duration,
    /// When it had delivered, if it did.
    pub delivered: Option<Duration>,
    /// What it took the worker.
    pub busy: Busy,
    /// Whether another worker, who was late, had been asked as well.
    pub again: bool,
    /// What came of it.
    pub fate: Fate,
}

/// What came of a worker's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet, or nothing that was waited for: another had been faster.
    Asked,
    /// It went into the sum.
    Used,
    /// Another's had gone into the sum before.
    Duplicate,
    /// The worker was gone before.
    Lost,
    /// The worker could not compute it.
    Failed,
}
