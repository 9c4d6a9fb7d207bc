//! Small results on their way to the host while the GPU computes on.

use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream};

use super::Gpu;

/// Loss of each sample, and whether it was recognised, which the GPU has been told to compute.
pub struct Results {
    losses: CudaSlice<f32>,
    correct: CudaSlice<u32>,
    /// When they are there.
    done: CudaEvent,
    copies: Arc<CudaStream>,
}

impl Gpu {
    /// Results of what has been queued on the stream up to now.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn results(&self, losses: CudaSlice<f32>, correct: CudaSlice<u32>) -> Result<Results> {
        let done = self.stream().record_event(None).w()?;
        Ok(Results { losses, correct, done, copies: Arc::clone(self.copies()) })
    }
}

impl Results {
    /// Waits until they are there and brings them here. Not by the stream that computes, where the copy would wait for what
    /// is queued behind.
    ///
    /// # Errors
    /// When the computation or the copy has failed.
    pub fn fetch(self) -> Result<(Vec<f32>, Vec<u32>)> {
        self.done.synchronize().w()?;
        let fetched = (self.copies.clone_dtoh(&self.losses).w()?, self.copies.clone_dtoh(&self.correct).w()?);
        self.copies.synchronize().w()?;
        Ok(fetched)
    }
}
