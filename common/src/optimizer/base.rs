//! Base optimizers, which take the descents of the fast weights. Their state persists over all outer steps.

use std::sync::Arc;

use super::blocks::{Cut, Target};
use super::buffers::{Pool, Writing};
use super::elementwise::{self, AdamWStep, SgdStep};
use crate::flat_buffer::FlatBuffer;
use crate::job::BaseOptimizer;

/// A base optimizer with its state.
#[derive(Debug)]
pub(super) struct Base {
    optimizer: BaseOptimizer,
    buffers: [Option<Arc<FlatBuffer>>; 2],
    steps: u64,
}

/// Names of the buffers that a base optimizer keeps. Each has the length of the parameters and is zero before the first
/// descent.
pub(super) fn buffer_names(optimizer: &BaseOptimizer) -> &'static [&'static str] {
    match *optimizer {
        BaseOptimizer::Sgd { momentum: 0.0, .. } => &[],
        BaseOptimizer::Sgd { .. } => &["momentum"],
        BaseOptimizer::AdamW { .. } => &["first_moment", "second_moment"],
    }
}

impl Base {
    /// The base optimizer after `steps` descents, with the buffers in the order of [`buffer_names`].
    pub(super) fn new(
        optimizer: BaseOptimizer,
        buffers: impl IntoIterator<Item = Arc<FlatBuffer>>,
        steps: u64,
    ) -> Self {
        let mut buffers = buffers.into_iter();
        Self { optimizer, buffers: [buffers.next(), buffers.next()], steps }
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn buffers(&self) -> impl Iterator<Item = (&'static str, &Arc<FlatBuffer>)> {
        buffer_names(&self.optimizer).iter().copied().zip(self.buffers.iter().flatten())
    }

    /// Begins the next descent and lends its buffers; [`Base::end_step`] takes them back.
    pub(super) fn begin_step(&mut self, lr: f64, pool: &mut Pool) -> (Rule, [Option<Writing>; 2]) {
        self.steps += 1;
        let buffers =
            self.buffers.each_mut().map(|buffer| buffer.take().map(|flat_buffer| pool.rewrite(flat_buffer)));
        (Rule::new(&self.optimizer, lr, self.steps), buffers)
    }

    pub(super) fn end_step(&mut self, buffers: [Option<Writing>; 2]) {
        self.buffers = buffers.map(|buffer| buffer.map(Writing::finish));
    }
}

/// One descent of a base optimizer. Factors are computed in f64 and then rounded to f32, as in PyTorch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// SGD without momentum, which needs no buffer.
    Sgd(SgdStep),
    /// SGD with momentum.
    Momentum(SgdStep),
    /// Adam with decoupled weight decay.
    AdamW(AdamWStep),
}

impl Cut for Rule {
    fn cut(self, _: usize) -> (Self, Self) {
        (self, self)
    }
}

impl Rule {
    fn new(optimizer: &BaseOptimizer, lr: f64, step: u64) -> Self {
        match *optimizer {
            BaseOptimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
                let factors = SgdStep {
                    lr: lr as f32,
                    momentum: momentum as f32,
                    weight_decay: weight_decay as f32,
                    nesterov,
                };
                if momentum == 0.0 { Self::Sgd(factors) } else { Self::Momentum(factors) }
            }
            BaseOptimizer::AdamW { betas: [beta1, beta2], eps, weight_decay, .. } => {
                // libm is the same code on every machine, whereas the standard library calls the system's pow.
                let correction = |beta| 1.0 - libm::pow(beta, step as f64);
                Self::AdamW(AdamWStep {
                    step_size: (lr / correction(beta1)) as f32,
                    decay: (lr * weight_decay) as f32,
                    first: (1.0 - beta1) as f32,
                    second: (1.0 - beta2) as f32,
                    correction: correction(beta2).sqrt() as f32,
                    eps: eps as f32,
                })
            }
        }
    }

    /// Moves one block of weights, with the same block of each buffer.
    pub(super) fn apply(&self, weights: &mut [f32], gradient: &[f32], buffers: [Option<Target<'_>>; 2]) {
        let [first, second] = buffers.map(|buffer| buffer.map_or(&mut [][..], Target::load));
        match *self {
            Self::Sgd(step) => elementwise::sgd(weights, gradient, step),
            Self::Momentum(step) => elementwise::sgd_with_momentum(weights, gradient, first, step),
            Self::AdamW(step) => elementwise::adamw(weights, gradient, first, second, step),
        }
    }
}

#[cfg(test)]
mod tests;
