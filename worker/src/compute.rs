//! What a worker computes: partial gradients of segments of the reduction tree.
//!
//! [`Backend`] and [`PreparedJob`] are all that a session knows of it, so that gradients may come from any library. Candle is
//! one implementation, on the CPU (`cpu`) and on GPUs (`cuda`). Which samples a shard holds (`sampler`, `samples`), which
//! partials the probe is made of (`probe`) and how partials are added ([`reduce_shards`]) are the same whatever computes.

mod batch;
mod candle;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod error;
mod evaluator;
#[cfg(test)]
mod fixture;
mod loader;
#[cfg(not(feature = "cuda"))]
mod no_cuda;
mod panics;
mod probe;
mod sampler;
mod samples;
mod schedule;
mod segment;
mod timing;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::Contribution;
use lookbehind_common::digest::Digest;
use lookbehind_common::job::{JobDescription, JobSpec, Precision};
use lookbehind_common::reduction::Node;

pub use candle::CandleBackend;
#[cfg(feature = "cuda")]
pub(crate) use cuda::of_device;
pub use error::{ComputeError, PrepareError};
#[cfg(feature = "cuda")]
pub(crate) use evaluator::without_places;
#[cfg(not(feature = "cuda"))]
use no_cuda as cuda;
pub use panics::Panic;
pub use segment::{compute_unwatched, reduce_shards};
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

/// A loaded job.
pub trait PreparedJob: Send {
    /// What model and data are; the same on every worker.
    fn description(&self) -> &JobDescription;

    /// Initial parameters and statistics, a function of the job's seed.
    ///
    /// # Errors
    /// When they cannot be drawn.
    fn initial_state(&self) -> Result<(Arena, Arena), ComputeError>;

    /// Digest of the partial gradients of keyed probe weights at all shapes of shards that the job has, computed when the
    /// job was loaded. Workers of one compute class have the same one; results are promised to be equal among those alone.
    fn probe(&self) -> Digest;

    /// Sets the weights that gradients are computed at. Where it fails, none are loaded.
    ///
    /// # Errors
    /// When the lengths are not the layout's, or the device refuses.
    fn load(&mut self, parameters: &[f32], statistics: &[f32]) -> Result<(), ComputeError>;

    /// Computes a segment of the reduction tree: the canonical sum of the partial gradients of its shards. A shard's partial
    /// is a pure function of the loaded weights, the shard's samples, the job's seed and the work; neither the segment nor
    /// the shards that are computed beside it take part in it. [`reduce_shards`] adds partials that are computed one by one
    /// or in groups.
    ///
    /// `watch` is told of every shard that is done, and of every part of a long one: a coordinator takes a worker whose
    /// work stands still for dead. It is asked before each shard or group whether the segment is still wanted.
    ///
    /// # Errors
    /// When no weights are loaded, the work has no such shard, model or data fail, or newer work has overtaken it. The next
    /// segment comes out as if this one had not been asked for.
    fn segment(
        &mut self,
        work: &Work,
        segment: Node,
        watch: &Arc<dyn Watch>,
    ) -> Result<Contribution, Stopped>;

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

    /// How long segments have waited for their samples since the job was loaded; part of the time that they took.
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
