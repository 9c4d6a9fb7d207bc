//! Copies of small results to the host while the GPU continues to compute.

use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream};

use super::Gpu;

/// Losses of samples, and whether each was classified correctly, of a computation that has been queued.
pub struct Results {
    losses: CudaSlice<f32>,
    correct: CudaSlice<u32>,
    /// The point of the computing stream at which they are complete.
    done: CudaEvent,
    copies: Arc<CudaStream>,
}

impl Gpu {
    /// The results of what has been queued on the stream so far.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn results(&self, losses: CudaSlice<f32>, correct: CudaSlice<u32>) -> Result<Results> {
        let done = self.stream().record_event(None).w()?;
        Ok(Results { losses, correct, done, copies: Arc::clone(self.copies()) })
    }
}

impl Results {
    /// Waits until they are complete and copies them to the host. The copy uses the stream for copies: on the computing
    /// stream it would wait for everything that has been queued since.
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
