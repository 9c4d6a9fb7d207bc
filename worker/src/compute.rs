//! What a worker computes: partial gradients of segments of the reduction tree.
//!
//! A session uses only [`Backend`] and [`PreparedJob`], so that gradients may come from any library. Candle is one
//! implementation, on the CPU (`cpu`) and on GPUs (`cuda`). Which samples a shard holds (`sampler`, `samples`), which
//! partials the probe consists of (`probe`), how shards climb by themselves (`climbing`) and how partials are added
//! ([`reduce_shards`]) are the same for every backend.

mod batch;
mod candle;
mod climbing;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod error;
mod evaluator;
#[cfg(test)]
mod fixture;
mod loader;
mod measuring;
#[cfg(not(feature = "cuda"))]
mod no_cuda;
mod panics;
mod probe;
mod rounding;
mod sampler;
mod samples;
mod schedule;
mod segment;
mod timing;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{JobDescription, JobSpec, Precision};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_common::test_set::TestSet;

use crate::data::Cancellation;

pub use candle::CandleBackend;
#[cfg(feature = "cuda")]
pub(crate) use cuda::of_device;
pub use error::{ComputeError, PrepareError};
pub(crate) use measuring::{Found, Measuring, plain_data};
#[cfg(not(feature = "cuda"))]
use no_cuda as cuda;
pub use panics::Panic;
pub use rounding::Rounding;
pub use segment::{compute_unwatched, reduce_shards};
pub use timing::{Phase, Timing};
pub use watch::{Stopped, Unwatched, Watch};

/// Loads jobs. A worker process has one.
pub trait Backend: Send + Sync + 'static {
    /// What it computes on, for people: processor, features, threads, build.
    fn device(&self) -> String;

    /// Description of the compute class: everything apart from the job that results of this precision may depend on.
    fn class_description(&self, precision: Precision) -> String;

    /// Loads a job's model and data and checks that they fit each other. It should end soon after it is cancelled: the
    /// worker loads no other job meanwhile.
    ///
    /// # Errors
    /// The kind of error says whether the job or this worker is at fault, or that it was cancelled.
    fn prepare(
        &self,
        spec: &JobSpec,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn PreparedJob>, PrepareError>;
}

/// A loaded job.
pub trait PreparedJob: Send {
    /// Description of model and data; it must be the same on every worker.
    fn description(&self) -> &JobDescription;

    /// Initial parameters and running statistics, a function of the job's seed.
    ///
    /// # Errors
    /// If they cannot be drawn.
    fn initial_state(&self) -> Result<ModelState<FlatBuffer>, ComputeError>;

    /// Digest of the partial gradients at keyed probe weights, for all shard sizes of the job, computed when the job
    /// was loaded. Workers of one compute class have the same digest, and only among those are results promised to be
    /// equal.
    fn probe(&self) -> Digest;

    /// Sets the weights that gradients are computed at. After an error no weights are loaded.
    ///
    /// # Errors
    /// If the lengths are not those of the layout, or the device fails.
    fn load(&mut self, weights: ModelState<&[f32]>) -> Result<(), ComputeError>;

    /// Computes a segment of the reduction tree: the canonical sum of the partial gradients of its shards. A shard's
    /// partial is a pure function of the loaded weights, the shard's samples, the job's seed and the request; it
    /// depends neither on the segment nor on the shards that are computed at the same time. Gradients are rounded as
    /// [`Rounding`] says. [`reduce_shards`] rounds and adds partials that are computed one by one or in groups. If the job's
    /// shards climb by themselves ([`Visit::of`](lookbehind_common::optimizer::Visit::of)), the partial is that of a visit,
    /// which [`Climb`](lookbehind_common::optimizer::Climb) and
    /// [`VisitPartial`](lookbehind_common::optimizer::VisitPartial) make of the gradients on the shard's path.
    ///
    /// `watch` is notified after every shard, and after every part of a long one: the coordinator takes a worker
    /// without progress for dead. It is asked before each shard or group whether the segment is still wanted.
    ///
    /// # Errors
    /// If no weights are loaded, the request has no such shard, model or data fail, or a newer request has superseded
    /// this one. The next segment is computed as if this one had not been requested.
    fn segment(
        &mut self,
        request: &Request,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped>;

    /// Time of each phase on each device since the previous call. Empty on the first call, and for backends that do not
    /// measure it.
    ///
    /// # Errors
    /// If a device is lost.
    fn timings(&mut self) -> Result<Vec<Vec<Timing>>, ComputeError> {
        Ok(Vec::new())
    }

    /// The most bytes in use at once on all devices together since the previous call; `None` for backends that compute
    /// in the host's memory, and if the driver of a device does not report it.
    ///
    /// # Errors
    /// If a device is lost.
    fn device_memory(&mut self) -> Result<Option<u64>, ComputeError> {
        Ok(None)
    }

    /// How long segments have waited for their samples since the job was loaded; a part of the time that they took.
    fn waited_for_data(&self) -> Duration {
        Duration::ZERO
    }
}

/// What is to be computed for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Gradient, sums and batch statistics of a batch of the training split.
    Gradient,
    /// Sums over the test split or another set of samples.
    Test(TestSet),
}

/// A request that is divided into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is computed.
    pub kind: RequestKind,
    /// Epoch of the batch.
    pub epoch: u64,
    /// Batch within the epoch; ignored for tests.
    pub batch: u64,
    /// Number of shards that the samples are divided into; there are fewer if there are fewer samples.
    pub shards: u32,
}
