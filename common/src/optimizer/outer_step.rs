//! Where an optimizer stands between the beginning and the end of an outer step.

use super::messages::{GradientRequest, OuterStepReport};
use super::methods::{GradientSchedule, GradientUse};
use crate::job::Alpha;

/// Where the optimizer stands within an outer step.
#[derive(Clone, Debug)]
pub(super) struct OuterStep {
    /// What its gradients are for.
    pub(super) schedule: GradientSchedule,
    /// Learning rate.
    pub(super) lr: f64,
    /// The gradient that was asked for last.
    pub(super) index: u32,
    /// Descents done.
    pub(super) descents: u32,
    /// Norm of the first gradient.
    pub(super) gradient_norm: f64,
}

impl OuterStep {
    /// The beginning of an outer step.
    pub(super) fn new(schedule: GradientSchedule, lr: f64) -> Self {
        Self { schedule, lr, index: 0, descents: 0, gradient_norm: 0.0 }
    }

    /// What the gradient that was asked for last is for.
    pub(super) fn gradient(&self) -> GradientUse {
        self.schedule.gradient(self.index)
    }

    /// The gradient that was asked for last.
    pub(super) fn request(&self) -> GradientRequest {
        GradientRequest {
            index: self.index,
            batch: self.schedule.batch(self.index),
            weights_changed: self.schedule.weights_changed(self.index),
        }
    }

    /// Moves on to the next gradient.
    pub(super) fn advance(&mut self) {
        self.descents += u32::from(self.gradient().descends);
        self.index += 1;
    }

    /// What the outer step did, once its last gradient is taken.
    pub(super) fn report(&self, alpha: f64) -> OuterStepReport {
        OuterStepReport {
            gradients: self.index + 1,
            inner_steps: self.schedule.inner_steps,
            gradient_norm: self.gradient_norm,
            learning_rate: self.lr,
            alpha,
        }
    }

    /// Whether the fast weights after the coming descent will be compared with the last ones.
    pub(super) fn keeps_first(&self) -> bool {
        self.schedule.interpolation == Some(Alpha::Adaptive) && self.descents == 0
    }
}
