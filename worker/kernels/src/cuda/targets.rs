//! What samples should be recognised as, on a GPU.

use candle_core::Result;
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use lookbehind_common::target::Target;

use super::{Gpu, Staging, View};

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
        match target.mixed {
            Some(mixed) => Self { first: target.class, second: mixed.class, share: mixed.share, mixed: 1 },
            None => Self { first: target.class, second: 0, share: 0.0, mixed: 0 },
        }
    }
}

/// The targets of some samples, whose classes are known to be below a bound: the kernels look logits up by them.
pub struct Targets {
    targets: CudaSlice<DeviceTarget>,
    len: usize,
    /// One more than the greatest class.
    classes: usize,
}

impl Targets {
    /// Samples.
    pub(super) fn samples(&self) -> usize {
        self.len
    }
}

/// The way of targets to a GPU.
#[derive(Default)]
pub struct TargetStaging(Staging<DeviceTarget>);

impl TargetStaging {
    /// Takes no memory before it is used.
    #[must_use]
    pub fn new() -> Self {
        Self(Staging::new())
    }

    /// Targets on the device, for what the stream does from now on.
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

/// What became of some samples, on the device.
pub(crate) struct RowLosses {
    /// Loss of each sample, in nats.
    pub losses: CudaSlice<f32>,
    /// Whether it was recognised: 0 or 1.
    pub correct: CudaSlice<u32>,
    /// Gradient of (sum of the losses) / denominator with respect to the logits.
    pub gradient: CudaSlice<f32>,
}

impl Gpu {
    /// Losses of logits `[samples, classes]`.
    ///
    /// # Errors
    /// When there are not as many logits as that, or a target's class is none of theirs.
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
