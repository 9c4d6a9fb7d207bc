//! Learning rates over time. The unit of time is the epoch for jobs with epochs and the outer step for jobs with steps.

/// A learning rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub shape: Shape,
    /// Units of linear warm-up; 0 means none.
    pub warmup: u64,
    /// Factor of the learning rate in the first unit of the warm-up, in (0, 1].
    pub warmup_start: f64,
}

/// Shape of a schedule after its warm-up.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// The same at every unit.
    Constant,
    /// Multiplied by `gamma` at each milestone.
    Multistep {
        /// Units from which on the rate is multiplied once more, rising.
        milestones: Vec<u64>,
        /// Factor at each milestone, in (0, 1].
        gamma: f64,
    },
    /// Half a cosine from the base optimizer's rate to `min_lr` at the end of the training.
    Cosine {
        /// Learning rate at the end.
        min_lr: f64,
    },
}

impl Schedule {
    /// Learning rate in unit `unit`, from 0, of a training of `units` units; `base_lr` is the base optimizer's rate.
    /// During the warm-up it rises linearly from `warmup_start`·`base_lr` towards `base_lr`, which it would reach in
    /// unit `warmup`. Then it follows the shape.
    pub fn learning_rate(&self, base_lr: f64, unit: u64, units: u64) -> f64 {
        if unit < self.warmup {
            let done = unit as f64 / self.warmup as f64;
            return base_lr * (self.warmup_start + (1.0 - self.warmup_start) * done);
        }
        match &self.shape {
            Shape::Constant => base_lr,
            // One multiplication after the other and no power, as in PyTorch's MultiStepLR: the rounding is the same.
            Shape::Multistep { milestones, gamma } => {
                milestones.iter().filter(|&&milestone| unit >= milestone).fold(base_lr, |lr, _| lr * gamma)
            }
            Shape::Cosine { min_lr } => {
                let done = (unit - self.warmup) as f64 / units.saturating_sub(self.warmup).max(1) as f64;
                min_lr + (base_lr - min_lr) * (1.0 + libm::cos(std::f64::consts::PI * done)) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests;
