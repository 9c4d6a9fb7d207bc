//! The methods of the family, each written out as its formula.

use std::ops::Range;

use lookbehind_common::job::{Alpha, Ascent, InnerGradients, Method, Minibatch, OptimizerSpec};

use super::Values;
use super::base::{Base, each};

/// The structure of a method's outer step.
pub struct InnerSteps {
    /// Inner steps of a full outer step.
    pub k: usize,
    /// Batches of a full outer step.
    pub batches: usize,
}

/// Inner steps and batches of a method's full outer step.
pub fn inner_steps(method: &Method) -> InnerSteps {
    let (k, switches) = match *method {
        Method::Sgd | Method::Sam { .. } => (1, false),
        Method::Lookahead { k, .. } | Method::LookaheadSam { k, .. } => (k, true),
        Method::MultistepSam { k, minibatch, .. } => (k, minibatch == Minibatch::Switch),
        Method::Lookbehind { k, gradients, .. } => {
            (k, gradients == InnerGradients::Reference(Minibatch::Switch))
        }
    };
    InnerSteps { k: k as usize, batches: if switches { k as usize } else { 1 } }
}

/// Gradient of the mean loss of a batch, at some weights.
pub type Gradient<'a> = dyn Fn(&Values, &Range<usize>) -> Values + 'a;

/// The state of a training run between outer steps.
pub struct Trainer {
    method: Method,
    /// Whether adaptive ascents scale each tensor; one value per tensor.
    scaled: Vec<bool>,
    base: Base,
    /// The slow weights φ.
    pub slow: Values,
}

impl Trainer {
    /// The state before the first outer step; `names` and `slow` are in the same order.
    pub fn new(spec: &OptimizerSpec, names: &[String], slow: Values) -> Self {
        let scaled = names.iter().map(|name| name.contains("weight")).collect();
        Self { method: spec.method, scaled, base: Base::new(spec.base), slow }
    }

    /// Takes one outer step with the given batches.
    pub fn outer_step(&mut self, batches: &[Range<usize>], lr: f64, gradient: &Gradient<'_>) {
        let InnerSteps { k, batches: full } = inner_steps(&self.method);
        // The batch of each inner step. At the end of an epoch there are fewer batches, and so fewer inner steps.
        let batches: Vec<_> = if full > 1 { batches.to_vec() } else { vec![batches[0].clone(); k] };
        match self.method {
            Method::Sgd => {
                let g = gradient(&self.slow, &batches[0]);
                self.base.step(&mut self.slow, &g, lr);
            }
            Method::Sam { ascent } => {
                let perturbed = self.ascend(&self.slow, &gradient(&self.slow, &batches[0]), ascent);
                let g = gradient(&perturbed, &batches[0]);
                self.base.step(&mut self.slow, &g, lr);
            }
            Method::Lookahead { alpha, .. } => {
                let mut path = vec![self.slow.clone()];
                for batch in &batches {
                    let g = gradient(&path[path.len() - 1], batch);
                    self.descend(&mut path, &g, lr);
                }
                self.interpolate(&path, alpha);
            }
            Method::LookaheadSam { ascent, alpha, .. } => {
                let mut path = vec![self.slow.clone()];
                for batch in &batches {
                    let fast = &path[path.len() - 1];
                    let perturbed = self.ascend(fast, &gradient(fast, batch), ascent);
                    self.descend(&mut path, &gradient(&perturbed, batch), lr);
                }
                self.interpolate(&path, alpha);
            }
            Method::MultistepSam { ascent, .. } => {
                let mut perturbed = self.slow.clone();
                for batch in &batches {
                    perturbed = self.ascend(&perturbed, &gradient(&perturbed, batch), ascent);
                }
                let g = gradient(&perturbed, &batches[batches.len() - 1]);
                self.base.step(&mut self.slow, &g, lr);
            }
            // For equal batches, both ways of computing the gradients give the same ones.
            Method::Lookbehind { ascent, alpha, .. } => {
                let (mut perturbed, mut path) = (self.slow.clone(), vec![self.slow.clone()]);
                for batch in &batches {
                    perturbed = self.ascend(&perturbed, &gradient(&perturbed, batch), ascent);
                    self.descend(&mut path, &gradient(&perturbed, batch), lr);
                }
                self.interpolate(&path, alpha);
            }
        }
    }

    /// φ′ + ρ T²g / (‖T g‖ + 1e-16)
    fn ascend(&self, weights: &Values, gradient: &Values, ascent: Ascent) -> Values {
        let mut t: Values = weights.clone();
        for (t, &scaled) in t.iter_mut().zip(&self.scaled) {
            for t in t.iter_mut() {
                *t = ascent.eta.filter(|_| scaled).map_or(1.0, |eta| t.abs() + eta);
            }
        }
        let mut tg = t.clone();
        each(&mut tg, gradient, |t, g| t * g);
        let norm = tg.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        let mut moved = weights.clone();
        each(&mut tg, &t, |tg, t| t * tg);
        each(&mut moved, &tg, |w, ttg| w + ascent.rho * ttg / (norm + 1e-16));
        moved
    }

    /// Appends the next fast weights to their path.
    fn descend(&mut self, path: &mut Vec<Values>, gradient: &Values, lr: f64) {
        let mut fast = path[path.len() - 1].clone();
        self.base.step(&mut fast, gradient, lr);
        path.push(fast);
    }

    /// φ + α (f − φ), along the path of the fast weights from φ on.
    fn interpolate(&mut self, path: &[Values], alpha: Alpha) {
        let (first, last) = (&path[1], &path[path.len() - 1]);
        for (tensor, slow) in self.slow.iter_mut().enumerate() {
            let alpha = match alpha {
                Alpha::Static(alpha) => alpha,
                Alpha::Adaptive => {
                    let x: Vec<f64> = first[tensor].iter().zip(&*slow).map(|(f, s)| f - s).collect();
                    let y: Vec<f64> = last[tensor].iter().zip(&*slow).map(|(f, s)| f - s).collect();
                    (cosine(&x, &y) + 1.0) / 2.0
                }
            };
            for (slow, fast) in slow.iter_mut().zip(&last[tensor]) {
                *slow += alpha * (fast - *slow);
            }
        }
    }
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(x, y) / (dot(x, x).sqrt().max(1e-8) * dot(y, y).sqrt().max(1e-8))
}
