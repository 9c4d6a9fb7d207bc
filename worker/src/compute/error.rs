//! Why a job cannot be loaded or a gradient cannot be computed, and who is at fault.

use lookbehind_common::job::JobError;
use lookbehind_common::optimizer::AbsorbError;

use super::{Panic, Stopped};
use crate::data::DataError;
use crate::parameters::StateError;

/// Why a job could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The job is at fault: every worker would fail in the same way.
    #[error("{0}")]
    Job(String),
    /// This worker is at fault: another one may succeed.
    #[error("{0}")]
    Worker(String),
    /// The device is lost to this process, which has to be restarted to compute again.
    #[error("{0}")]
    DeviceLost(String),
    /// The job is no longer wanted, so that it was not loaded to the end.
    #[error("loading was cancelled")]
    Cancelled,
}

/// Why something could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// No weights have been loaded since the job was prepared.
    #[error("no weights are loaded")]
    NotLoaded,
    /// The epoch has no such batch.
    #[error("batch {batch}: an epoch has {batches} batches")]
    NoSuchBatch {
        /// The batch asked for.
        batch: u64,
        /// Number of batches in an epoch.
        batches: u64,
    },
    /// The request has no such shard.
    #[error("shard {shard}: the request has {shards} shards")]
    NoSuchShard {
        /// The shard asked for.
        shard: u32,
        /// Number of shards in the request.
        shards: u32,
    },
    /// The samples cannot be read.
    #[error("data kind {kind:?}: {source}")]
    Data {
        /// The data set's kind.
        kind: String,
        /// The error of the data set.
        source: Box<DataError>,
    },
    /// A sample's target is not a class of the data set.
    #[error("data kind {kind:?}: target {found}, expected below {classes}")]
    Target {
        /// The data set's kind.
        kind: String,
        /// The target that was found.
        found: u32,
        /// Number of classes in the data set.
        classes: usize,
    },
    /// The model cannot be computed.
    #[error("model kind {kind:?}, shard of {samples} samples: {source}")]
    Model {
        /// The model's kind.
        kind: String,
        /// Samples in the shard.
        samples: usize,
        /// The error of the model.
        source: candle_core::Error,
    },
    /// A shard takes more memory than is left.
    #[error(
        "model kind {kind:?}: a shard of {samples} samples takes {needed} MiB{} in addition to {loaded} MiB in use, this worker's \
         limit is {limit} MiB: smaller shards (train.shards, train.batch_size) take less",
        and_transfers(*transfers)
    )]
    Memory {
        /// The model's kind.
        kind: String,
        /// Samples in the largest shard.
        samples: u64,
        /// MiB that the shard takes.
        needed: u64,
        /// MiB of weights and partials that go over the network meanwhile.
        transfers: u64,
        /// MiB that are in use without it.
        loaded: u64,
        /// MiB that the worker may have in use.
        limit: u64,
    },
    /// The visits of shards take more memory than is left.
    #[error(
        "model kind {kind:?}: climbing with shards of {samples} samples (optimizer.perturbation = \"shard\") takes {needed} MiB{} in \
         addition to {loaded} MiB in use, this worker's limit is {limit} MiB: smaller optimizer.k and train.shards take less",
        and_transfers(*transfers)
    )]
    VisitMemory {
        /// The model's kind.
        kind: String,
        /// Samples in the largest shard.
        samples: u64,
        /// MiB that the visits take.
        needed: u64,
        /// MiB of weights and partials that go over the network meanwhile.
        transfers: u64,
        /// MiB that are in use without them.
        loaded: u64,
        /// MiB that the worker may have in use.
        limit: u64,
    },
    /// A shard cannot go on with its path: a value is not finite, or does not fit the model.
    #[error("model kind {kind:?}, shard {shard}: {source}")]
    Path {
        /// The model's kind.
        kind: String,
        /// Number of the shard.
        shard: u32,
        /// What was found.
        source: AbsorbError,
    },
    /// A value of a shard's gradient is larger than the format in which gradients are exchanged can express.
    #[error(
        "model kind {kind:?}, shard {shard}: gradient of tensor {tensor:?}: value {index} becomes infinite when it is rounded to \
         {format} (train.exchange)"
    )]
    Rounding {
        /// The model's kind.
        kind: String,
        /// Number of the shard.
        shard: u32,
        /// Name of the tensor.
        tensor: String,
        /// Index of the value in the tensor.
        index: usize,
        /// Name of the format.
        format: &'static str,
    },
    /// No threads can be started.
    #[error("threads to compute with: {0}")]
    Threads(rayon::ThreadPoolBuildError),
    /// The model's tensors do not have the expected names or shapes.
    #[error("model kind {kind:?}: {source}")]
    State {
        /// The model's kind.
        kind: String,
        /// What does not fit.
        source: Box<StateError>,
    },
    /// Model or data set panicked.
    #[error("model kind {model:?}, data kind {data:?}: {panic}")]
    Panicked {
        /// The model's kind.
        model: String,
        /// The data set's kind.
        data: String,
        /// The message of the panic.
        panic: Panic,
    },
    /// The device failed at this computation, with its own error message; another worker may succeed.
    #[error("{0}")]
    Device(String),
    /// The device is lost to this process; the text is its own error message.
    #[error("{0}")]
    DeviceLost(String),
    /// Any other error, as text; for backends of other kinds.
    #[error("{0}")]
    Other(String),
    /// The worker contradicts itself: a bug in its own code, which fails the job rather than falsify the run's result.
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
        match error {
            DataError::Cancelled => PrepareError::Cancelled,
            error if error.is_fault_of_job() => PrepareError::Job(error.to_string()),
            error => PrepareError::Worker(error.to_string()),
        }
    }
}

impl From<Stopped> for PrepareError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Superseded => PrepareError::Cancelled,
            Stopped::Failed(error) => error.into(),
        }
    }
}

/// What transfers take, behind what computing takes; nothing where there are none.
fn and_transfers(mebibytes: u64) -> String {
    match mebibytes {
        0 => String::new(),
        mebibytes => format!(", and {mebibytes} MiB for weights and partials on their way,"),
    }
}

impl From<ComputeError> for PrepareError {
    /// A model that cannot be computed is the job's fault, data that cannot be read is the worker's.
    fn from(error: ComputeError) -> Self {
        match error {
            ComputeError::Data { source, .. } => (*source).into(),
            ComputeError::Memory { .. }
            | ComputeError::VisitMemory { .. }
            | ComputeError::Threads(_)
            | ComputeError::Device(_) => PrepareError::Worker(error.to_string()),
            ComputeError::DeviceLost(reason) => PrepareError::DeviceLost(reason),
            _ => PrepareError::Job(error.to_string()),
        }
    }
}
