//! Sums over shards where they were computed.

use candle_core::Result;
use cudarc::driver::CudaSlice;

use lookbehind_kernels::cuda::{self, Gpu, Pinned};

/// Gradient, then statistics, of a shard or of a node of shards, on a GPU.
pub(super) struct Sum(pub(super) CudaSlice<f32>);

/// Brings sums from one GPU to another, by way of the host's memory: that works between any two. It costs two copies for
/// each GPU but the first.
#[derive(Default)]
pub(super) struct Exchange {
    between: Option<Pinned<f32>>,
}

impl Exchange {
    /// The sum of siblings: the left one is on `gpu`, and so will be the sum; the right one is anywhere.
    pub(super) fn add(&mut self, left: Sum, right: Sum, gpu: &Gpu) -> Result<Sum> {
        let right = if right.0.context() == gpu.context() { right } else { self.bring(&right, gpu)? };
        let Sum(mut into) = left;
        let len = into.len();
        cuda::add(gpu, &mut into, (&right.0).into(), len)?;
        Ok(Sum(into))
    }

    /// A sum of another GPU, on this one.
    fn bring(&mut self, sum: &Sum, gpu: &Gpu) -> Result<Sum> {
        let len = sum.0.len();
        let between = match &mut self.between {
            Some(between) if between.capacity() >= len => between,
            other => other.insert(Pinned::zeros(gpu.context(), len)?),
        };
        between.download(&sum.0, 0, len)?;
        gpu.upload(between, len).map(Sum)
    }
}
