//! Base optimizers as PyTorch defines them.

use lookbehind_common::job::BaseOptimizer;

use super::Values;

/// A base optimizer with its state.
pub struct Base {
    optimizer: BaseOptimizer,
    steps: i32,
    /// Momentum, or the first moment.
    first: Option<Values>,
    /// The second moment.
    second: Option<Values>,
}

impl Base {
    /// The state before the first step.
    pub fn new(optimizer: BaseOptimizer) -> Self {
        Self { optimizer, steps: 0, first: None, second: None }
    }

    /// Takes one step with the learning rate `lr`.
    pub fn step(&mut self, weights: &mut Values, gradient: &Values, lr: f64) {
        self.steps += 1;
        match self.optimizer {
            BaseOptimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
                self.sgd(weights, gradient, lr, momentum, nesterov, weight_decay);
            }
            BaseOptimizer::AdamW { betas, eps, weight_decay, .. } => {
                self.adamw(weights, gradient, lr, betas, eps, weight_decay);
            }
        }
    }

    fn sgd(&mut self, weights: &mut Values, gradient: &Values, lr: f64, mu: f64, nesterov: bool, decay: f64) {
        let mut d = gradient.clone();
        each(&mut d, weights, |d, w| d + decay * w);
        match &mut self.first {
            Some(momentum) => each(momentum, &d, |b, d| mu * b + d),
            None => self.first = Some(d.clone()),
        }
        let momentum = self.first.as_ref().expect("set above");
        if nesterov {
            each(&mut d, momentum, |d, b| d + mu * b);
        } else {
            d = momentum.clone();
        }
        each(weights, &d, |w, d| w - lr * d);
    }

    fn adamw(
        &mut self,
        weights: &mut Values,
        gradient: &Values,
        lr: f64,
        betas: [f64; 2],
        eps: f64,
        decay: f64,
    ) {
        let zeros: Values = gradient.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        let first = self.first.get_or_insert_with(|| zeros.clone());
        let second = self.second.get_or_insert(zeros);
        each(first, gradient, |m, g| betas[0] * m + (1.0 - betas[0]) * g);
        each(second, gradient, |v, g| betas[1] * v + (1.0 - betas[1]) * g * g);
        let corrections = betas.map(|beta| 1.0 - beta.powi(self.steps));
        let mut direction = first.clone();
        each(&mut direction, second, |m, v| (m / corrections[0]) / ((v / corrections[1]).sqrt() + eps));
        each(weights, &direction, |w, d| w * (1.0 - lr * decay) - lr * d);
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
