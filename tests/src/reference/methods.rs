//! The methods of the family, each written out as its formula.

use std::ops::Range;

use lookbehind_common::job::{Alpha, Ascent, InnerGradients, JobSpec, Method, Minibatch, Perturbation};

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

/// Gradient of the mean loss of some samples, at some weights.
pub type Gradient<'a> = dyn Fn(&Values, &Range<usize>) -> Values + 'a;

/// The state of a training run between outer steps.
pub struct Trainer {
    method: Method,
    /// Whether adaptive ascents scale each tensor; one value per tensor.
    scaled: Vec<bool>,
    base: Base,
    /// Shards of a batch.
    shards: usize,
    /// The slow weights φ.
    pub slow: Values,
}

/// The perturbed weights φ′ of each part of a batch: the whole batch, or the shards that climb by themselves.
struct Perturbed {
    parts: Vec<(Range<usize>, Values)>,
}

impl Perturbed {
    /// Goes on with the batch of the next inner step. Shards climb on one batch only.
    fn turn_to(&mut self, batch: &Range<usize>) {
        if let [(part, _)] = self.parts.as_mut_slice() {
            *part = batch.clone();
        }
    }

    /// The gradient of the batch's mean loss, each part at its own weights.
    fn gradient(&self, of: &Gradient<'_>) -> Values {
        let samples: usize = self.parts.iter().map(|(part, _)| part.len()).sum();
        let mut sum: Option<Values> = None;
        for (part, weights) in &self.parts {
            let share = part.len() as f64 / samples as f64;
            let mut gradient = of(weights, part);
            gradient.iter_mut().flatten().for_each(|g| *g *= share);
            match &mut sum {
                Some(sum) => each(sum, &gradient, |sum, g| sum + g),
                None => sum = Some(gradient),
            }
        }
        sum.expect("a batch has samples")
    }
}

impl Trainer {
    /// The state before the first outer step; `names` and `slow` are in the same order.
    pub fn new(spec: &JobSpec, names: &[String], slow: Values) -> Self {
        let scaled = names.iter().map(|name| name.contains("weight")).collect();
        let (method, base) = (spec.optimizer.method, Base::new(spec.optimizer.base));
        Self { method, scaled, base, shards: spec.train.shards as usize, slow }
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
                let mut perturbed = self.unperturbed(&self.slow, &batches[0], ascent);
                self.climb(&mut perturbed, ascent, gradient);
                self.base.step(&mut self.slow, &perturbed.gradient(gradient), lr);
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
                    let mut perturbed = self.unperturbed(&path[path.len() - 1], batch, ascent);
                    self.climb(&mut perturbed, ascent, gradient);
                    self.descend(&mut path, &perturbed.gradient(gradient), lr);
                }
                self.interpolate(&path, alpha);
            }
            Method::MultistepSam { ascent, .. } => {
                let mut perturbed = self.unperturbed(&self.slow, &batches[0], ascent);
                for batch in &batches {
                    perturbed.turn_to(batch);
                    self.climb(&mut perturbed, ascent, gradient);
                }
                self.base.step(&mut self.slow, &perturbed.gradient(gradient), lr);
            }
            // For equal batches, both ways of computing the gradients give the same ones.
            Method::Lookbehind { ascent, alpha, .. } => {
                let mut perturbed = self.unperturbed(&self.slow, &batches[0], ascent);
                let mut path = vec![self.slow.clone()];
                for batch in &batches {
                    perturbed.turn_to(batch);
                    self.climb(&mut perturbed, ascent, gradient);
                    self.descend(&mut path, &perturbed.gradient(gradient), lr);
                }
                self.interpolate(&path, alpha);
            }
        }
    }

    /// Perturbed weights before the first ascent.
    fn unperturbed(&self, weights: &Values, batch: &Range<usize>, ascent: Ascent) -> Perturbed {
        let parts = match ascent.perturbation {
            Perturbation::Global => 1,
            Perturbation::Shard => self.shards.min(batch.len()),
        };
        // The first ones have one sample more where the parts cannot be equal.
        let (size, longer) = (batch.len() / parts, batch.len() % parts);
        let mut start = batch.start;
        let part = |number: usize| {
            let part = start..start + size + usize::from(number < longer);
            start = part.end;
            (part, weights.clone())
        };
        Perturbed { parts: (0..parts).map(part).collect() }
    }

    /// Moves the perturbed weights of each part along its own gradient.
    fn climb(&self, perturbed: &mut Perturbed, ascent: Ascent, gradient: &Gradient<'_>) {
        for (part, weights) in &mut perturbed.parts {
            *weights = self.ascend(weights, &gradient(weights, part), ascent);
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
