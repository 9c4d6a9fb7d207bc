//! Softmax cross-entropy where the logits are: no number leaves the GPU between forward and backward pass.

use candle_core::{Result, Tensor};
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};

use super::{Argument, Grid, Kind, Place, current, gradient_like, int, operand, singles};
use crate::cuda::address;
use lookbehind_common::target::Target;

/// `Target` of `kernels/softmax.cu`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct DeviceTarget {
    first: u32,
    second: u32,
    share: f32,
    mixed: u32,
}

#[allow(unsafe_code, reason = "the kernel takes the same fields in the same order")]
// SAFETY: plain numbers, laid out as the kernel's structure is.
unsafe impl DeviceRepr for DeviceTarget {}

#[allow(unsafe_code, reason = "all its fields may be zero")]
// SAFETY: zeros are a valid target.
unsafe impl ValidAsZeroBits for DeviceTarget {}

impl From<&Target> for DeviceTarget {
    fn from(target: &Target) -> Self {
        let (second, share) = target.mixed.map_or((0, 0.0), |mixed| (mixed.class, mixed.share));
        Self { first: target.class, second, share, mixed: target.mixed.is_some().into() }
    }
}

/// What became of some samples, on the device.
pub(crate) struct Losses {
    /// Loss of each sample, in nats.
    pub(crate) losses: CudaSlice<f32>,
    /// Whether it was recognised: 0 or 1.
    pub(crate) correct: CudaSlice<u32>,
    /// Gradient of (sum of the losses) / `denominator` with respect to the logits `[n, classes]`.
    pub(crate) gradient: Tensor,
}

/// Computes the losses of logits `[n, classes]`; as [`crate::ops::cross_entropy::cross_entropy`].
///
/// # Errors
/// When the logits do not have that shape and type.
pub(crate) fn cross_entropy(
    logits: &Tensor,
    targets: &CudaSlice<DeviceTarget>,
    smoothing: f32,
    denominator: u64,
) -> Result<Losses> {
    let (gpu, given) = (current()?, logits);
    let logits = operand(given, Kind::F32)?;
    let (rows, classes) = logits.dims2()?;
    if targets.len() != rows {
        candle_core::bail!("logits of {rows} samples, expected {}", targets.len());
    }
    let losses = gpu.uninitialized::<f32>(rows)?;
    let correct = gpu.uninitialized::<u32>(rows)?;
    let gradient = Place::new(&gpu, Kind::F32, rows * classes)?;
    let launched = [
        singles(&logits)?.into(),
        Argument::Pointer(address(targets)),
        Argument::Pointer(address(&losses)),
        Argument::Pointer(address(&correct)),
        gradient.argument(),
        int(classes)?,
        Argument::Double(smoothing.into()),
        Argument::Double(denominator as f64),
    ];
    gpu.launch("cross_entropy", Grid::rows(rows, classes), &launched)?;
    let gradient = gradient_like(gradient.tensor((rows, classes)), given)?;
    Ok(Losses { losses, correct, gradient })
}
