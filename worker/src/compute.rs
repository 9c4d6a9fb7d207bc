//! What a worker computes: the contributions of shards, behind a trait of which candle is one implementation.

mod batch;
mod candle;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod evaluator;
#[cfg(test)]
mod fixture;
mod job;
mod loader;
mod panics;
mod sampler;
mod samples;
mod schedule;
mod timing;
mod watch;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::Contribution;
use lookbehind_common::digest::Digest;
use lookbehind_common::job::{JobDescription, JobSpec, Precision};
use lookbehind_common::reduction::{Node, reduce};

use crate::data::DataError;
use crate::parameters::StateError;

pub use candle::CandleBackend;
#[cfg(feature = "cuda")]
pub(crate) use cuda::of_device;
#[cfg(feature = "cuda")]
pub(crate) use evaluator::without_places;
pub use panics::Panic;
pub use timing::{Phase, Timing};
pub use watch::{Stopped, Unwatched, Watch};

/// Loads jobs; one per worker process.
pub trait Backend: Send + Sync + 'static {
    /// What it computes on, in words: processor, features, threads, build.
    fn device(&self) -> String;

    /// The compute class in words: all that results of this precision may depend on beside the job.
    fn class_description(&self, precision: Precision) -> String;

    /// Loads a job's model and data and checks that they fit each other.
    ///
    /// # Errors
    /// Says whose fault it is.
    fn prepare(&self, spec: &JobSpec) -> Result<Box<dyn PreparedJob>, PrepareError>;
}

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

/// A loaded job.
pub trait PreparedJob: Send {
    /// What model and data are; the same on every worker.
    fn description(&self) -> &JobDescription;

    /// Initial parameters and statistics, a function of the job's seed.
    ///
    /// # Errors
    /// When they cannot be drawn.
    fn initial_state(&self) -> Result<(Arena, Arena), ComputeError>;

    /// Digest of the contributions of keyed probe weights at all shapes of shards that the job has: what tells
    /// compute classes apart (design, section 4). Weights must be loaded again afterwards.
    ///
    /// # Errors
    /// When a contribution cannot be computed.
    fn probe(&mut self) -> Result<Digest, ComputeError>;

    /// Sets the weights that contributions are computed at.
    ///
    /// # Errors
    /// When the lengths are not the layout's.
    fn load(&mut self, parameters: &[f32], statistics: &[f32]) -> Result<(), ComputeError>;

    /// Computes a shard's contribution to a piece of work: a pure function of the loaded weights, the shard's
    /// samples, the job's seed and the work.
    ///
    /// # Errors
    /// When no weights are loaded, the job has no such shard, or model or data fail.
    fn contribution(&mut self, work: &Work, shard: u32) -> Result<Contribution, ComputeError>;

    /// How many shards are best asked for at once.
    fn group(&self) -> u32 {
        1
    }

    /// The contributions of several shards, in their order; `computed` is called after each, and after each part of
    /// a shard of the test split. The same bytes as shard by shard.
    ///
    /// # Errors
    /// As [`PreparedJob::contribution`].
    fn contributions(
        &mut self,
        work: &Work,
        shards: Range<u32>,
        computed: &(dyn Fn() + Sync),
    ) -> Result<Vec<Contribution>, ComputeError> {
        let one = |shard| self.contribution(work, shard).inspect(|_| computed());
        shards.map(one).collect()
    }

    /// The canonical sum over a node's shards.
    ///
    /// # Errors
    /// As [`PreparedJob::contribution`], and when newer work overtakes it.
    fn node(&mut self, work: &Work, node: Node, watch: &Arc<dyn Watch>) -> Result<Contribution, Stopped> {
        let mut computed: VecDeque<Contribution> = VecDeque::new();
        reduce::<Stopped>(node, &mut |part: Node| {
            if part.len() > 1 {
                return Ok(None);
            }
            if computed.is_empty() {
                if watch.is_overtaken() {
                    return Err(Stopped::Overtaken);
                }
                let end = node.end.min(part.first.saturating_add(self.group()));
                computed.extend(self.contributions(work, part.first..end, &|| watch.advance())?);
            }
            Ok(computed.pop_front())
        })
    }

    /// What the phases took on each device since this was asked last; nothing the first time, and nothing from backends
    /// that do not know.
    fn timings(&mut self) -> Vec<Vec<Timing>> {
        Vec::new()
    }

    /// The most bytes that were in use at once on the devices together since this was asked last; 0 from backends that
    /// compute in the host's memory.
    fn device_memory(&mut self) -> u64 {
        0
    }

    /// How long contributions have waited for their samples, all in all.
    fn waited_for_data(&self) -> Duration {
        Duration::ZERO
    }
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// Gradient, sums and statistics of a batch of the training split.
    Gradient,
    /// Sums over the test split.
    Test,
}

/// A piece of work that is cut into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is computed.
    pub kind: WorkKind,
    /// Epoch of the batch.
    pub epoch: u64,
    /// Batch within the epoch; without meaning for the test split.
    pub batch: u64,
    /// Shards that the samples are cut into; fewer where there are fewer samples.
    pub shards: u32,
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
    #[error("shard {shard}: the work has {shards} shards")]
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
}
