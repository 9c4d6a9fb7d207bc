//! Targets of samples on a GPU.

use candle_core::Result;
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use lookbehind_common::target::Target;

use super::{Gpu, Staging, View};

/// A target on the device; `Target` of `kernels/softmax.cu`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct DeviceTarget {
    first: u32,
    second: u32,
    share: f32,
    mixed: u32,
}

#[allow(unsafe_code, reason = "the kernel takes the same fields in the same order")]
// SAFETY: integers and a float, in the layout of the kernel's structure.
unsafe impl DeviceRepr for DeviceTarget {}

#[allow(unsafe_code, reason = "all its fields may be zero")]
// SAFETY: zeros are a valid target.
unsafe impl ValidAsZeroBits for DeviceTarget {}

impl From<&Target> for DeviceTarget {
    fn from(target: &Target) -> Self {
        match target.mixed {
            Some(mixed) => Self { first: target.class, second: mixed.class, share: mixed.share, mixed: 1 },
            None => Self { first: target.class, second: 0, share: 0.0, mixed: 0 },
        }
    }
}

/// The targets of some samples, with a known bound of their classes: the kernels use a class as an index into the
/// logits.
pub struct Targets {
    targets: CudaSlice<DeviceTarget>,
    len: usize,
    /// One more than the greatest class.
    classes: usize,
}

impl Targets {
    /// Number of samples.
    pub(super) fn samples(&self) -> usize {
        self.len
    }
}

/// Copies targets to a GPU.
#[derive(Default)]
pub struct TargetStaging(Staging<DeviceTarget>);

impl TargetStaging {
    /// Takes no memory before it is used.
    #[must_use]
    pub fn new() -> Self {
        Self(Staging::new())
    }

    /// Copies targets to the device; operations that are queued on the stream afterwards see them.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn upload(&mut self, targets: &[Target], gpu: &Gpu) -> Result<Targets> {
        let greatest = targets.iter().map(Target::greatest_class).max();
        let targets: Vec<DeviceTarget> = targets.iter().map(DeviceTarget::from).collect();
        let classes = greatest.map_or(0, |class| class as usize + 1);
        Ok(Targets { len: targets.len(), targets: self.0.upload(&targets, gpu)?, classes })
    }
}

/// Losses of some samples, on the device.
pub(crate) struct RowLosses {
    /// Loss of each sample, in nats.
    pub losses: CudaSlice<f32>,
    /// Whether the sample was classified correctly: 0 or 1.
    pub correct: CudaSlice<u32>,
    /// Gradient of (sum of the losses) / denominator with respect to the logits.
    pub gradient: CudaSlice<f32>,
}

impl Gpu {
    /// Losses of logits `[samples, classes]`.
    ///
    /// # Errors
    /// When there are fewer or more logits than that, or a target's class is not below `classes`.
    #[allow(unsafe_code, reason = "the kernel looks logits up by the targets' classes")]
    pub(crate) fn cross_entropy(
        &self,
        logits: View<'_, f32>,
        targets: &Targets,
        classes: usize,
        smoothing: f64,
        denominator: f64,
    ) -> Result<RowLosses> {
        if targets.classes > classes {
            candle_core::bail!("a target of class {}, expected less than {classes}", targets.classes - 1);
        }
        let (rows, targets) = (targets.len, View::from(&targets.targets));
        // SAFETY: every class is below the number of classes.
        let (losses, correct, gradient) = unsafe {
            super::kernels::cross_entropy(self, logits, targets, classes, smoothing, denominator, rows)
        }?;
        Ok(RowLosses { losses, correct, gradient })
    }
}
