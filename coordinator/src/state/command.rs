//! What the state machine wants done: its outputs.

use std::sync::Arc;

use lookbehind_common::arena::Arena;
use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{JobId, SessionId, WorkId};
use lookbehind_common::job::{JobDescription, JobSpec};
use lookbehind_common::reduction::Node;
use lookbehind_proto::v1;

use crate::state::event::{Activation, Reply, Token};
use crate::state::observation::Observation;
use crate::state::record::{JobRecord, Notice};
use crate::training::{Input, Snapshot, Trainer};

/// One output. The runtime carries them out in order; what is to be durable before a reply comes before it.
#[derive(Debug)]
pub enum Command {
    /// Answer a call.
    Reply(Token, Reply),
    /// Send a control message.
    Send(SessionId, ToWorker),
    /// Close a worker's control stream, after what was sent before.
    Disconnect(SessionId),
    /// Store a job's record durably, with what is new about it.
    Persist(Box<JobRecord>, Option<Notice>),
    /// Load what a job starts from; answered by `Loaded`.
    Load(JobId, Activation, Box<StartFrom>),
    /// Do the arithmetic; answered by `Advanced`.
    Advance(JobId, Activation, Box<Trainer>, Input),
    /// Serve these weights under this version, and no older ones of the job.
    Publish(JobId, u64, Weights),
    /// Serve no weights of the job.
    Unpublish(JobId),
    /// Record an outer step in the job's metrics; answered by `ReplayDiffers` if the step was recorded before with
    /// another digest.
    Record(JobId, Activation, Box<v1::OuterStepMetrics>),
    /// Write a checkpoint; answered by `Checkpointed`.
    Checkpoint(JobId, Activation, Box<Snapshot>),
    /// Tell those who watch.
    Observe(Observation),
    /// Everything is at rest: the process may end.
    Stopped,
}

/// Parameters and statistics that are shared, not copied.
#[derive(Clone, Debug)]
pub struct Weights {
    /// All parameters.
    pub parameters: Arc<Arena>,
    /// All statistics.
    pub statistics: Arc<Arena>,
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
pub enum ToWorker {
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
    pub work: WorkId,
    /// What it is.
    pub coordinates: Coordinates,
    /// Weights to compute at.
    pub weights_version: u64,
    /// One partial is wanted for each.
    pub nodes: Vec<Node>,
}

/// What a piece of work computes, apart from the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinates {
    /// Gradient of a batch, or pass over the test split.
    pub kind: WorkKind,
    /// Samples in all shards together.
    pub samples: u64,
    /// Shards, none of them empty.
    pub shards: u32,
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
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
