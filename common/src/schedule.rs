//! Learning rates over time, in epochs or in outer steps.

use serde::{Deserialize, Serialize};

use crate::sampling::{Plan, Position};

/// A learning rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Unit of time.
    pub unit: Unit,
    /// Shape after the warm-up.
    pub shape: Shape,
    /// Units of linear warm-up; 0 means none.
    pub warmup: u64,
    /// Factor of the learning rate in the first unit of the warm-up, in (0, 1].
    pub warmup_start: f64,
}

/// Unit of a schedule's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Passes over the training split; only for jobs whose length is given in epochs.
    Epoch,
    /// Outer steps.
    Step,
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
    /// A power of the part that is left of the training, from the base optimizer's rate to `min_lr` at the end.
    Polynomial {
        /// Learning rate at the end.
        min_lr: f64,
        /// Power, above 0; 1 is a line.
        power: f64,
    },
    /// Half a cosine up to the base optimizer's rate and half a cosine down, as PyTorch's `OneCycleLR` with its defaults
    /// (Smith & Topin, 2018), the last unit being at the lowest rate. Momentum stays as it is. It has no warm-up.
    OneCycle {
        /// Part of the training in which the rate rises, from 0 to below 1.
        pct_start: f64,
        /// The rate begins at the base optimizer's rate divided by this.
        div_factor: f64,
        /// The rate ends at its beginning divided by this.
        final_div_factor: f64,
    },
}

impl Schedule {
    /// Learning rate of the outer step at a position of a plan; `base_lr` is the base optimizer's rate.
    pub fn at(&self, base_lr: f64, plan: &Plan, position: Position) -> f64 {
        let (unit, units) = match self.unit {
            // A plan of epochs has whole ones.
            Unit::Epoch => (position.epoch, plan.outer_steps / plan.outer_steps_per_epoch().max(1)),
            Unit::Step => (position.outer_step, plan.outer_steps),
        };
        self.learning_rate(base_lr, unit, units)
    }

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
            Shape::Cosine { min_lr } => cosine(base_lr, *min_lr, self.done(unit, units)),
            Shape::Polynomial { min_lr, power } => {
                // A resumed plan may be shorter than what was done: nothing is left then.
                let left = (1.0 - self.done(unit, units)).max(0.0);
                min_lr + (base_lr - min_lr) * libm::pow(left, *power)
            }
            Shape::OneCycle { pct_start, div_factor, final_div_factor } => {
                let (first, last) = (base_lr / div_factor, base_lr / div_factor / final_div_factor);
                // Both count from 0, so the last unit is the end.
                let (peak, end) = ((pct_start * units as f64 - 1.0).max(0.0), units.saturating_sub(1) as f64);
                let unit = unit as f64;
                if unit < peak {
                    cosine(first, base_lr, unit / peak)
                } else if peak < end {
                    cosine(base_lr, last, ((unit - peak) / (end - peak)).min(1.0))
                } else {
                    last
                }
            }
        }
    }

    /// The part of the training after the warm-up that is done before a unit.
    fn done(&self, unit: u64, units: u64) -> f64 {
        (unit - self.warmup) as f64 / units.saturating_sub(self.warmup).max(1) as f64
    }
}

/// Half a cosine from one rate to another.
fn cosine(from: f64, to: f64, done: f64) -> f64 {
    to + (from - to) * (1.0 + libm::cos(std::f64::consts::PI * done)) / 2.0
}

#[cfg(test)]
mod tests;
