//! Learning rates over time. The unit is the epoch for jobs with epochs, the outer step for jobs with steps.

/// A learning rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub shape: Shape,
    /// Units of linear warm-up.
    pub warmup: u64,
    /// First factor of the warm-up, in (0, 1].
    pub warmup_start: f64,
}

/// Shape of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// The same at every unit.
    Constant,
    /// Multiplied by `gamma` at each milestone.
    Multistep {
        /// Units, rising.
        milestones: Vec<u64>,
        /// Factor at each.
        gamma: f64,
    },
    /// Half a cosine down to `min_lr` at the end of the run.
    Cosine {
        /// Rate at the end.
        min_lr: f64,
    },
}

impl Schedule {
    /// Learning rate at unit `unit` of a run of `units`, from the base optimizer's rate: first the warm-up, a
    /// line from `warmup_start`·`base_lr` that would reach `base_lr` at unit `warmup`, then the shape.
    pub fn learning_rate(&self, base_lr: f64, unit: u64, units: u64) -> f64 {
        if unit < self.warmup {
            let done = unit as f64 / self.warmup as f64;
            return base_lr * (self.warmup_start + (1.0 - self.warmup_start) * done);
        }
        match &self.shape {
            Shape::Constant => base_lr,
            // One multiplication after the other, as PyTorch's MultiStepLR does.
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
