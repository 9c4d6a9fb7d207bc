//! Base optimizers, which take the descents of the fast weights. Their state persists over all outer steps.

use std::sync::Arc;

use super::blocks::Cut;
use super::buffers::{Pool, Writing};
use super::elementwise::{self, AdamStep, LionStep, SgdStep};
use crate::flat_buffer::FlatBuffer;
use crate::job::{BaseOptimizer, TensorRule};

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
        // An average and no sum of gradients: a job with SGD does not go on with it, nor the other way round.
        BaseOptimizer::Lion { .. } => &["first_moment"],
        BaseOptimizer::Adam { .. } | BaseOptimizer::AdamW { .. } => &["first_moment", "second_moment"],
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

    /// Begins the next descent, with a rule for each kind of tensors, and lends its buffers; [`Base::end_step`] takes them
    /// back.
    pub(super) fn begin_step(
        &mut self,
        lr: f64,
        kinds: &[TensorRule],
        pool: &mut Pool,
    ) -> (Vec<Rule>, [Option<Writing>; 2]) {
        self.steps += 1;
        let buffers =
            self.buffers.each_mut().map(|buffer| buffer.take().map(|flat_buffer| pool.rewrite(flat_buffer)));
        let rule = |kind: &TensorRule| {
            let optimizer = match kind.weight_decay {
                Some(decay) => self.optimizer.with_weight_decay(decay),
                None => self.optimizer,
            };
            Rule::new(&optimizer, lr * kind.lr_factor, self.steps)
        };
        (kinds.iter().map(rule).collect(), buffers)
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
    /// Adam.
    Adam(AdamStep),
    /// Adam with decoupled weight decay.
    AdamW(AdamStep),
    /// Lion.
    Lion(LionStep),
}

impl Cut for &[Rule] {
    /// The rules are for whole tensors: both parts have them all.
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
            BaseOptimizer::Adam { betas, eps, weight_decay, .. } => {
                Self::Adam(adam_step(lr, betas, eps, weight_decay, step))
            }
            BaseOptimizer::AdamW { betas, eps, weight_decay, .. } => {
                Self::AdamW(adam_step(lr, betas, eps, lr * weight_decay, step))
            }
            BaseOptimizer::Lion { betas: [beta1, beta2], weight_decay, .. } => Self::Lion(LionStep {
                lr: lr as f32,
                decay: (lr * weight_decay) as f32,
                step: (1.0 - beta1) as f32,
                momentum: (1.0 - beta2) as f32,
            }),
        }
    }

    /// Moves one block of weights, with the same block of each buffer.
    pub(super) fn apply(&self, weights: &mut [f32], gradient: &[f32], [first, second]: [&mut [f32]; 2]) {
        match *self {
            Self::Sgd(step) => elementwise::sgd(weights, gradient, step),
            Self::Momentum(step) => elementwise::sgd_with_momentum(weights, gradient, first, step),
            Self::Adam(step) => elementwise::adam(weights, gradient, first, second, step),
            Self::AdamW(step) => elementwise::adamw(weights, gradient, first, second, step),
            Self::Lion(step) => elementwise::lion(weights, gradient, first, step),
        }
    }
}

fn adam_step(lr: f64, [beta1, beta2]: [f64; 2], eps: f64, decay: f64, step: u64) -> AdamStep {
    // libm is the same code on every machine, whereas the standard library calls the system's pow.
    let correction = |beta| 1.0 - libm::pow(beta, step as f64);
    AdamStep {
        step_size: (lr / correction(beta1)) as f32,
        decay: decay as f32,
        first: (1.0 - beta1) as f32,
        second: (1.0 - beta2) as f32,
        correction: correction(beta2).sqrt() as f32,
        eps: eps as f32,
    }
}

#[cfg(test)]
mod tests;
