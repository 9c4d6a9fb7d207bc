//! Progress of an optimizer within an outer step.

use super::interpolation::Interpolated;
use super::messages::{GradientRequest, OuterStepReport};
use super::methods::{GradientSchedule, GradientUse};
use crate::job::Alpha;

/// An outer step that has begun.
#[derive(Clone, Debug)]
pub(super) struct OuterStep {
    pub(super) schedule: GradientSchedule,
    pub(super) lr: f64,
    /// Number of the gradient that was requested last, from 0.
    pub(super) index: u32,
    /// Descents done so far.
    pub(super) descents: u32,
    /// Norm of the first gradient; 0 before it has arrived.
    pub(super) gradient_norm: f64,
}

impl OuterStep {
    pub(super) fn new(schedule: GradientSchedule, lr: f64) -> Self {
        Self { schedule, lr, index: 0, descents: 0, gradient_norm: 0.0 }
    }

    /// The gradient that was requested last, with its uses.
    pub(super) fn gradient(&self) -> GradientUse {
        self.schedule.gradient(self.index)
    }

    /// The request for that gradient.
    pub(super) fn request(&self) -> GradientRequest {
        GradientRequest {
            index: self.index,
            batch: self.schedule.batch(self.index),
            weights_changed: self.schedule.weights_changed(self.index),
        }
    }

    pub(super) fn advance(&mut self) {
        self.descents += u32::from(self.gradient().descends);
        self.index += 1;
    }

    /// The measurements, after the last gradient.
    pub(super) fn report(&self, alpha: &Interpolated) -> OuterStepReport {
        OuterStepReport {
            gradients: self.index + 1,
            inner_steps: self.schedule.inner_steps,
            gradient_norm: self.gradient_norm,
            learning_rate: self.lr,
            alpha: alpha.mean,
            alpha_range: alpha.range,
        }
    }

    /// Whether the fast weights after the next descent are kept, because the adaptive interpolation needs the first
    /// ones.
    pub(super) fn keeps_first(&self) -> bool {
        self.schedule.interpolation == Some(Alpha::Adaptive) && self.descents == 0
    }
}
