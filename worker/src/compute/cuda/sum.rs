//! Sums over shards where they were computed.

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::CudaSlice;

use crate::cuda::{Argument, Gpu, Grid, Pinned, address};

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
        let right =
            if right.0.context() == gpu.stream().context() { right } else { self.bring(&right, gpu)? };
        let len = left.0.len();
        let launched = [
            Argument::Pointer(address(&left.0)),
            Argument::Pointer(address(&right.0)),
            Argument::Long(i64::try_from(len).unwrap_or(i64::MAX)),
        ];
        gpu.launch("add", Grid::over(len), &launched)?;
        Ok(left)
    }

    /// A sum of another GPU, on this one.
    fn bring(&mut self, sum: &Sum, gpu: &Gpu) -> Result<Sum> {
        let (there, len) = (sum.0.stream(), sum.0.len());
        let between = match &mut self.between {
            Some(between) if between.len() >= len => between,
            other => other.insert(Pinned::zeros(gpu.stream().context(), len)?),
        };
        between.download(0..len, address(&sum.0), there)?;
        there.synchronize().w()?;
        let here = gpu.uninitialized::<f32>(len)?;
        between.upload(0..len, address(&here), gpu.stream())?;
        gpu.stream().synchronize().w()?;
        Ok(Sum(here))
    }
}
