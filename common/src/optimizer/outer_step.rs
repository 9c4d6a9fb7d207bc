//! Where an optimizer stands between the beginning and the end of an outer step.

use super::messages::{Evaluation, OuterStepReport};
use super::program::{Program, Role};
use crate::job::Alpha;

/// Where the optimizer stands within an outer step.
#[derive(Clone, Copy, Debug)]
pub(super) struct OuterStep {
    /// What its gradients are for.
    pub(super) program: Program,
    /// Learning rate.
    pub(super) lr: f64,
    /// The evaluation that was asked for last.
    pub(super) index: u32,
    /// Descents done.
    pub(super) descents: u32,
    /// Norm of the first gradient.
    pub(super) gradient_norm: f64,
}

impl OuterStep {
    /// The beginning of an outer step.
    pub(super) fn new(program: Program, lr: f64) -> Self {
        Self { program, lr, index: 0, descents: 0, gradient_norm: 0.0 }
    }

    /// What the gradient that was asked for last is for.
    pub(super) fn role(&self) -> Role {
        self.program.role(self.index)
    }

    /// The evaluation that was asked for last.
    pub(super) fn evaluation(&self) -> Evaluation {
        Evaluation {
            index: self.index,
            batch: self.role().batch,
            weights_changed: self.program.weights_changed(self.index),
        }
    }

    /// What the outer step did, once its last gradient is taken.
    pub(super) fn report(&self, alpha: f64) -> OuterStepReport {
        OuterStepReport {
            evaluations: self.index + 1,
            inner_steps: self.program.inner_steps,
            gradient_norm: self.gradient_norm,
            learning_rate: self.lr,
            alpha,
        }
    }

    /// Whether the fast weights after the coming descent will be compared with the last ones.
    pub(super) fn keeps_first(&self) -> bool {
        self.program.interpolation == Some(Alpha::Adaptive) && self.descents == 0
    }
}
