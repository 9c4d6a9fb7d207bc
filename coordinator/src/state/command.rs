//! What the state machine wants done: its outputs.

use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{JobId, RequestId, SessionId};
use lookbehind_common::job::{JobDescription, JobSpec};
use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;

use crate::state::event::{Activation, Reply, ReplyTo};
use crate::state::observation::Observation;
use crate::state::record::{JobRecord, Notice};
use crate::training::{Input, Snapshot, Trainer, Weights};

/// One output. The runtime carries them out in order; what is to be durable before a reply comes before it.
#[derive(Debug)]
pub enum Command {
    /// Answer a call.
    Reply(ReplyTo, Reply),
    /// Send a control message.
    Send(SessionId, WorkerCommand),
    /// Close a worker's control stream, after what was sent before.
    Disconnect(SessionId),
    /// Store a job's record durably, with what is new about it.
    Persist(Box<JobRecord>, Option<Notice>),
    /// Load what a job starts from; answered by `Loaded`.
    Load {
        /// The job.
        job: JobId,
        /// The activation that asks.
        activation: Activation,
        /// What to load.
        start: Box<StartFrom>,
    },
    /// Do the arithmetic; answered by `Advanced`.
    Advance {
        /// The job.
        job: JobId,
        /// The activation that asks.
        activation: Activation,
        /// Who computes.
        trainer: Box<Trainer>,
        /// What is to be computed.
        input: Input,
    },
    /// Serve weights of the job, and no older ones.
    Publish {
        /// The job.
        job: JobId,
        /// The version under which they are served.
        version: u64,
        /// The weights.
        weights: Weights,
    },
    /// Serve no weights of the job.
    Unpublish(JobId),
    /// Record an outer step in the job's metrics; answered by `ReplayDiffers` if the step was recorded before with
    /// another digest.
    Record {
        /// The job.
        job: JobId,
        /// The activation that did the step.
        activation: Activation,
        /// What is recorded.
        metrics: Box<v1::OuterStepMetrics>,
    },
    /// Write a checkpoint; answered by `Checkpointed`.
    Checkpoint {
        /// The job.
        job: JobId,
        /// The activation that asks.
        activation: Activation,
        /// What it holds.
        snapshot: Box<Snapshot>,
    },
    /// Tell those who watch.
    Observe(Observation),
    /// Everything is at rest: the process may end.
    Stopped,
}

/// Where a job's first weights come from.
#[derive(Debug)]
pub struct StartFrom {
    /// The job.
    pub spec: JobSpec,
    /// Model and data.
    pub description: Arc<JobDescription>,
    /// The source.
    pub source: Source,
}

/// Where a job's first weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The newest whole checkpoint.
    Checkpoint,
    /// An uploaded file.
    Upload(Digest),
}

/// Control messages to workers.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerCommand {
    /// The worker is not, or no longer, in the cluster.
    Refused(String),
    /// The coordinator lives.
    Heartbeat(u64),
    /// Load a job.
    Prepare(JobId, Arc<v1::JobSpec>),
    /// Send a job's initial weights.
    SendInitialState(JobId),
    /// Compute.
    Assign(Assignment),
    /// Forget a job.
    Release(JobId),
}

/// What a worker is to compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The work.
    pub request: RequestId,
    /// What it is.
    pub coordinates: Coordinates,
    /// Weights to compute at.
    pub weights_version: u64,
    /// One partial is wanted for each.
    pub segments: Vec<Segment>,
}

/// What a request computes, apart from the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinates {
    /// Gradient of a batch, or pass over the test split.
    pub kind: RequestKind,
    /// Samples in all shards together.
    pub samples: u64,
    /// Shards, none of them empty.
    pub shards: u32,
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Gradient, loss and statistics of a batch.
    Gradient {
        /// Its epoch.
        epoch: u64,
        /// Its number within the epoch.
        batch: u64,
    },
    /// Loss and correct count of the test split.
    Test,
}
