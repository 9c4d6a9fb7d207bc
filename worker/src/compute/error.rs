//! Why a job cannot be loaded or a gradient not be computed, and whose fault it is.

use lookbehind_common::job::JobError;

use super::Panic;
use crate::data::DataError;
use crate::parameters::StateError;

/// Why a job could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The job's fault: every worker would fail alike.
    #[error("{0}")]
    Job(String),
    /// This worker's fault: another one may do.
    #[error("{0}")]
    Worker(String),
    /// What this process computes on is of no use to it any more.
    #[error("{0}")]
    DeviceLost(String),
}

/// Why something could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// No weights since the job was prepared.
    #[error("no weights are loaded")]
    NotLoaded,
    /// The epoch has no such batch.
    #[error("batch {batch}: an epoch has {batches} batches")]
    NoSuchBatch {
        /// The batch asked for.
        batch: u64,
        /// How many there are.
        batches: u64,
    },
    /// The work has no such shard.
    #[error("shard {shard}: the request has {shards} shards")]
    NoSuchShard {
        /// The shard asked for.
        shard: u32,
        /// How many there are.
        shards: u32,
    },
    /// The samples cannot be had.
    #[error("data kind {kind:?}: {source}")]
    Data {
        /// The data set's kind.
        kind: String,
        /// Why.
        source: Box<DataError>,
    },
    /// A sample's target is no class.
    #[error("data kind {kind:?}: target {found}, expected below {classes}")]
    Target {
        /// The data set's kind.
        kind: String,
        /// The target.
        found: u32,
        /// Classes of the data set.
        classes: usize,
    },
    /// The model cannot be evaluated.
    #[error("model kind {kind:?}, shard of {samples} samples: {source}")]
    Model {
        /// The model's kind.
        kind: String,
        /// Samples in the shard.
        samples: usize,
        /// Why.
        source: candle_core::Error,
    },
    /// A shard takes more memory than there is.
    #[error(
        "model kind {kind:?}: a shard of {samples} samples takes {needed} MiB beside {loaded} MiB in use, this worker's limit \
         is {limit} MiB: smaller shards (train.shards, train.batch_size) take less"
    )]
    Memory {
        /// The model's kind.
        kind: String,
        /// Samples in the largest shard.
        samples: u64,
        /// MiB that the shard takes.
        needed: u64,
        /// MiB that are in use without it.
        loaded: u64,
        /// MiB that the worker may have in use.
        limit: u64,
    },
    /// The system gives no threads.
    #[error("threads to compute with: {0}")]
    Threads(rayon::ThreadPoolBuildError),
    /// The model's tensors do not fit.
    #[error("model kind {kind:?}: {source}")]
    State {
        /// The model's kind.
        kind: String,
        /// Why.
        source: Box<StateError>,
    },
    /// Model or data set panicked.
    #[error("model kind {model:?}, data kind {data:?}: {panic}")]
    Panicked {
        /// The model's kind.
        model: String,
        /// The data set's kind.
        data: String,
        /// What it said.
        panic: Panic,
    },
    /// What the worker computes on fails at this, in its own words; another worker may do better.
    #[error("{0}")]
    Device(String),
    /// What the worker computes on is of no use to this process any more.
    #[error("{0}")]
    DeviceLost(String),
    /// Anything else, in words; for backends of other kinds.
    #[error("{0}")]
    Other(String),
    /// The worker contradicts itself: a mistake in its own code, which fails the job instead of the run's result.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<JobError> for PrepareError {
    fn from(error: JobError) -> Self {
        PrepareError::Job(error.to_string())
    }
}

impl From<DataError> for PrepareError {
    fn from(error: DataError) -> Self {
        let reason = error.to_string();
        if error.is_fault_of_job() { PrepareError::Job(reason) } else { PrepareError::Worker(reason) }
    }
}

impl From<ComputeError> for PrepareError {
    /// A model that cannot be evaluated is the job's fault, data that cannot be read the worker's.
    fn from(error: ComputeError) -> Self {
        match error {
            ComputeError::Data { source, .. } => (*source).into(),
            ComputeError::Memory { .. } | ComputeError::Threads(_) | ComputeError::Device(_) => {
                PrepareError::Worker(error.to_string())
            }
            ComputeError::DeviceLost(reason) => PrepareError::DeviceLost(reason),
            _ => PrepareError::Job(error.to_string()),
        }
    }
}
