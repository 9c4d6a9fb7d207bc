//! Softmax cross-entropy where the logits are: no number leaves the GPU between forward and backward pass.

use candle_core::{Result, Tensor};
use cudarc::driver::CudaSlice;

use super::{gradient_like, operand};
use crate::cuda::{Kind, RowLosses, Targets, current, tensor, view};

/// What became of some samples, on the device.
pub struct Losses {
    /// Loss of each sample, in nats.
    pub losses: CudaSlice<f32>,
    /// Whether it was recognised: 0 or 1.
    pub correct: CudaSlice<u32>,
    /// Gradient of (sum of the losses) / `denominator` with respect to the logits `[n, classes]`.
    pub gradient: Tensor,
}

/// Computes the losses of logits `[n, classes]`; as [`crate::cross_entropy::cross_entropy`].
///
/// # Errors
/// When the logits do not have that shape and type, or a target's class is none of theirs.
pub fn cross_entropy(logits: &Tensor, targets: &Targets, smoothing: f32, denominator: u64) -> Result<Losses> {
    let (gpu, given) = (current()?, logits);
    let logits = operand(given, Kind::F32)?;
    let (rows, classes) = logits.dims2()?;
    if targets.samples() != rows {
        candle_core::bail!("logits of {rows} samples, expected {}", targets.samples());
    }
    let (smoothing, denominator) = (smoothing.into(), denominator as f64);
    let RowLosses { losses, correct, gradient } =
        gpu.cross_entropy(view(&logits)?, targets, classes, smoothing, denominator)?;
    let gradient = gradient_like(&tensor(gradient, (rows, classes), &gpu), given)?;
    Ok(Losses { losses, correct, gradient })
}
