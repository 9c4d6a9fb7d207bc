//! Base optimizers as PyTorch defines them, and Lion as its paper does.

use lookbehind_common::job::{BaseOptimizer, OptimizerSpec};

use super::Values;
use super::rules::Rule;

/// A base optimizer with its state.
pub struct Base {
    optimizer: BaseOptimizer,
    /// Norm to which gradients are clipped.
    clip_norm: Option<f64>,
    /// How each tensor is trained.
    rules: Vec<Rule>,
    steps: i32,
    /// Momentum, or the first moment.
    first: Option<Values>,
    /// The second moment.
    second: Option<Values>,
}

impl Base {
    /// The state before the first step, for tensors with these rules.
    pub fn new(spec: &OptimizerSpec, rules: Vec<Rule>) -> Self {
        let (optimizer, clip_norm) = (spec.base, spec.clip_norm);
        Self { optimizer, clip_norm, rules, steps: 0, first: None, second: None }
    }

    /// Takes one step with the learning rate `lr`.
    pub fn step(&mut self, weights: &mut Values, gradient: &Values, lr: f64) {
        self.steps += 1;
        let trained = gradient.iter().zip(&self.rules).filter(|(_, rule)| !rule.frozen);
        let norm = trained.flat_map(|(g, _)| g).map(|g| g * g).sum::<f64>().sqrt();
        let clip = self.clip_norm.map_or(1.0, |most| (most / (norm + 1e-6)).min(1.0));
        let zeros = || gradient.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        let first = self.first.get_or_insert_with(zeros);
        let second = self.second.get_or_insert_with(zeros);
        for (tensor, rule) in self.rules.iter().enumerate().filter(|(_, rule)| !rule.frozen) {
            let step = Step {
                optimizer: self.optimizer,
                lr: lr * rule.lr_factor,
                decay: rule.weight_decay.unwrap_or(decay_of(&self.optimizer)),
                steps: self.steps,
            };
            for (index, w) in weights[tensor].iter_mut().enumerate() {
                let g = clip * gradient[tensor][index];
                step.apply(w, g, &mut first[tensor][index], &mut second[tensor][index]);
            }
        }
    }
}

fn decay_of(optimizer: &BaseOptimizer) -> f64 {
    match *optimizer {
        BaseOptimizer::Sgd { weight_decay, .. }
        | BaseOptimizer::Adam { weight_decay, .. }
        | BaseOptimizer::AdamW { weight_decay, .. }
        | BaseOptimizer::Lion { weight_decay, .. } => weight_decay,
    }
}

/// A step of the weights of one tensor.
struct Step {
    optimizer: BaseOptimizer,
    lr: f64,
    decay: f64,
    /// Number of this step, from 1.
    steps: i32,
}

impl Step {
    fn apply(&self, w: &mut f64, g: f64, m: &mut f64, v: &mut f64) {
        let &Self { lr, decay, .. } = self;
        match self.optimizer {
            BaseOptimizer::Sgd { momentum, nesterov, .. } => {
                let d = g + decay * *w;
                *m = momentum * *m + d;
                *w -= lr * if nesterov { d + momentum * *m } else { *m };
            }
            BaseOptimizer::Adam { betas, eps, .. } => {
                let direction = self.moments(g + decay * *w, m, v, betas, eps);
                *w -= lr * direction;
            }
            BaseOptimizer::AdamW { betas, eps, .. } => {
                let direction = self.moments(g, m, v, betas, eps);
                *w = *w * (1.0 - lr * decay) - lr * direction;
            }
            BaseOptimizer::Lion { betas, .. } => {
                let c = betas[0] * *m + (1.0 - betas[0]) * g;
                let sign = if c == 0.0 { 0.0 } else { c.signum() };
                *w -= lr * (sign + decay * *w);
                *m = betas[1] * *m + (1.0 - betas[1]) * g;
            }
        }
    }

    /// Updates the moments; returns the corrected first one divided by the root of the second.
    fn moments(&self, g: f64, m: &mut f64, v: &mut f64, betas: [f64; 2], eps: f64) -> f64 {
        *m = betas[0] * *m + (1.0 - betas[0]) * g;
        *v = betas[1] * *v + (1.0 - betas[1]) * g * g;
        let corrections = betas.map(|beta| 1.0 - beta.powi(self.steps));
        (*m / corrections[0]) / ((*v / corrections[1]).sqrt() + eps)
    }
}

/// Replaces each value of `left` by a function of it and its partner in `right`.
pub(super) fn each(left: &mut Values, right: &Values, f: impl Fn(f64, f64) -> f64) {
    for (left, right) in left.iter_mut().zip(right) {
        for (left, &right) in left.iter_mut().zip(right) {
            *left = f(*left, right);
        }
    }
}
