//! The methods of the family, each written out as its formula.

use std::ops::Range;

use lookbehind_common::job::{
    Alpha, Ascent, DescentGradient, ExchangeFormat, InnerGradients, JobSpec, Method, Minibatch, Perturbation,
};
use lookbehind_common::random::{Key, Purpose};

use super::Values;
use super::base::{Base, each};
use super::rounding::{Rounding, Seen};
use super::rules::{Rule, rule};

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
        Method::Sgd | Method::Sam { .. } | Method::Rwp { .. } => (1, false),
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
    /// How each tensor is trained.
    rules: Vec<Rule>,
    base: Base,
    /// Shards of a batch.
    shards: usize,
    /// What is done to the gradients of shards and all sums of them.
    rounding: Rounding,
    seed: u64,
    /// Number of each tensor in the model, where a layer's weight comes before its bias.
    numbers: Vec<u32>,
    /// Outer steps done.
    done: u64,
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

    /// Number of samples in the batch.
    fn samples(&self) -> usize {
        self.parts.iter().map(|(part, _)| part.len()).sum()
    }
}

impl Trainer {
    /// The state before the first outer step. `tensors`, names and numbers of dimensions, and `slow` are in the same order.
    pub fn new(spec: &JobSpec, tensors: &[(String, usize)], slow: Values) -> Self {
        let scaled = tensors.iter().map(|(name, _)| name.contains("weight")).collect();
        let rules: Vec<Rule> =
            tensors.iter().map(|(name, dimensions)| rule(&spec.optimizer, name, *dimensions)).collect();
        let place = |name: &str| {
            (name.trim_end_matches(".weight").trim_end_matches(".bias").to_owned(), name.ends_with(".bias"))
        };
        let before =
            |name: &str| tensors.iter().filter(|(other, _)| place(other) < place(name)).count() as u32;
        let rounds = spec.train.exchange == ExchangeFormat::Bf16;
        Self {
            method: spec.optimizer.method,
            scaled,
            base: Base::new(&spec.optimizer, rules.clone()),
            rules,
            shards: spec.train.shards as usize,
            rounding: Rounding { rounds, seen: Seen::default() },
            seed: spec.seed,
            numbers: tensors.iter().map(|(name, _)| before(name)).collect(),
            done: 0,
            slow,
        }
    }

    /// The same beside a service that rounded gradients to these.
    #[must_use]
    pub fn beside(mut self, seen: Seen) -> Self {
        self.rounding.seen = seen;
        self
    }

    /// Takes one outer step with the given batches.
    pub fn outer_step(&mut self, batches: &[Range<usize>], lr: f64, gradient: &Gradient<'_>) {
        let InnerSteps { k, batches: full } = inner_steps(&self.method);
        // The batch of each inner step. At the end of an epoch there are fewer batches, and so fewer inner steps.
        let batches: Vec<_> = if full > 1 { batches.to_vec() } else { vec![batches[0].clone(); k] };
        match self.method {
            Method::Sgd => {
                let g = self.of_batch(&self.slow, &batches[0], gradient);
                self.base.step(&mut self.slow, &g, lr);
            }
            Method::Sam { ascent } => {
                let mut perturbed = self.unperturbed(&self.slow, &batches[0], ascent);
                self.climb(&mut perturbed, ascent, gradient);
                let g = self.of_parts(&perturbed, gradient);
                self.base.step(&mut self.slow, &g, lr);
            }
            Method::Lookahead { alpha, .. } => {
                let mut path = vec![self.slow.clone()];
                for batch in &batches {
                    let g = self.of_batch(&path[path.len() - 1], batch, gradient);
                    self.descend(&mut path, &g, lr);
                }
                self.interpolate(&path, alpha);
            }
            Method::LookaheadSam { ascent, alpha, .. } => {
                let mut path = vec![self.slow.clone()];
                for batch in &batches {
                    let mut perturbed = self.unperturbed(&path[path.len() - 1], batch, ascent);
                    self.climb(&mut perturbed, ascent, gradient);
                    let g = self.of_parts(&perturbed, gradient);
                    self.descend(&mut path, &g, lr);
                }
                self.interpolate(&path, alpha);
            }
            Method::MultistepSam { ascent, descent, .. } => {
                let mut perturbed = self.unperturbed(&self.slow, &batches[0], ascent);
                let mut gradients = Vec::new();
                for (number, batch) in (1..).zip(&batches) {
                    perturbed.turn_to(batch);
                    self.climb(&mut perturbed, ascent, gradient);
                    if descent == DescentGradient::Mean || number == batches.len() {
                        gradients.push(self.of_parts(&perturbed, gradient));
                    }
                }
                self.base.step(&mut self.slow, &mean(&gradients), lr);
            }
            Method::Rwp { rho } => {
                let perturbed = self.randomly_perturbed(rho);
                let g = self.of_batch(&perturbed, &batches[0], gradient);
                self.base.step(&mut self.slow, &g, lr);
            }
            // For equal batches, both ways of computing the gradients give the same ones.
            Method::Lookbehind { ascent, alpha, .. } => {
                let mut perturbed = self.unperturbed(&self.slow, &batches[0], ascent);
                let mut path = vec![self.slow.clone()];
                for batch in &batches {
                    perturbed.turn_to(batch);
                    self.climb(&mut perturbed, ascent, gradient);
                    let g = self.of_parts(&perturbed, gradient);
                    self.descend(&mut path, &g, lr);
                }
                self.interpolate(&path, alpha);
            }
        }
        self.done += 1;
    }

    /// φ + ρ ξ / ‖ξ‖
    fn randomly_perturbed(&self, rho: f64) -> Values {
        let drawn = |(&layer, slow): (&u32, &Vec<f64>)| -> Vec<f64> {
            let key = Key::new(self.seed, Purpose::WeightPerturbation);
            let mut stream = Key { layer, batch: self.done, ..key }.stream();
            slow.iter().map(|_| f64::from(stream.normal())).collect()
        };
        let drawn: Values = self.numbers.iter().zip(&self.slow).map(drawn).collect();
        let norm = drawn.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        let mut moved = self.slow.clone();
        each(&mut moved, &drawn, |w, x| w + rho * x / norm);
        moved
    }

    /// Perturbed weights before the first ascent.
    fn unperturbed(&self, weights: &Values, batch: &Range<usize>, ascent: Ascent) -> Perturbed {
        let parts = match ascent.perturbation {
            Perturbation::Global => vec![batch.clone()],
            Perturbation::Shard => self.shards_of(batch),
        };
        Perturbed { parts: parts.into_iter().map(|part| (part, weights.clone())).collect() }
    }

    /// The shards of a batch. The first ones have one sample more where they cannot be equal.
    fn shards_of(&self, batch: &Range<usize>) -> Vec<Range<usize>> {
        let shards = self.shards.min(batch.len());
        let (size, longer) = (batch.len() / shards, batch.len() % shards);
        let mut start = batch.start;
        let shard = |number: usize| {
            let shard = start..start + size + usize::from(number < longer);
            start = shard.end;
            shard
        };
        (0..shards).map(shard).collect()
    }

    /// What a shard adds to the gradient of the mean loss of a batch of `samples` samples.
    fn of_shard(&self, weights: &Values, shard: &Range<usize>, samples: usize, of: &Gradient<'_>) -> Values {
        let share = shard.len() as f64 / samples as f64;
        let mut gradient = of(weights, shard);
        gradient.iter_mut().flatten().for_each(|g| *g *= share);
        self.rounding.of_shard(gradient, shard)
    }

    /// The gradient of a batch's mean loss, all shards at the same weights.
    fn of_batch(&self, weights: &Values, batch: &Range<usize>, of: &Gradient<'_>) -> Values {
        let shards = self.shards_of(batch);
        let shards: Vec<Values> =
            shards.iter().map(|shard| self.of_shard(weights, shard, batch.len(), of)).collect();
        self.rounding.tree(&shards)
    }

    /// The gradient of a batch's mean loss, each part at its own weights.
    fn of_parts(&self, perturbed: &Perturbed, of: &Gradient<'_>) -> Values {
        if let [(batch, weights)] = &perturbed.parts[..] {
            return self.of_batch(weights, batch, of);
        }
        let samples = perturbed.samples();
        let parts = perturbed.parts.iter();
        let parts: Vec<Values> =
            parts.map(|(part, weights)| self.of_shard(weights, part, samples, of)).collect();
        self.rounding.tree(&parts)
    }

    /// Moves the perturbed weights of each part along its own gradient.
    fn climb(&self, perturbed: &mut Perturbed, ascent: Ascent, gradient: &Gradient<'_>) {
        let samples = perturbed.samples();
        for (part, weights) in &mut perturbed.parts {
            let g = match ascent.perturbation {
                Perturbation::Global => self.of_batch(weights, part, gradient),
                Perturbation::Shard => self.of_shard(weights, part, samples, gradient),
            };
            *weights = self.ascend(weights, &g, ascent);
        }
    }

    /// φ′ + ρ T²g / (‖T g‖ + 1e-16)
    fn ascend(&self, weights: &Values, gradient: &Values, ascent: Ascent) -> Values {
        let mut t: Values = weights.clone();
        for (t, (&scaled, rule)) in t.iter_mut().zip(self.scaled.iter().zip(&self.rules)) {
            for t in t.iter_mut() {
                *t = match ascent.eta {
                    _ if !rule.ascends => 0.0,
                    Some(eta) if scaled => t.abs() + eta,
                    _ => 1.0,
                };
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
        let adaptive = |tensor: usize, slow: &Values| {
            let moved = |to: &Values| to[tensor].iter().zip(&slow[tensor]).map(|(f, s)| f - s).collect();
            let (x, y): (Vec<f64>, Vec<f64>) = (moved(first), moved(last));
            (cosine(&x, &y) + 1.0) / 2.0
        };
        let ascending: Vec<usize> = (0..self.rules.len()).filter(|&t| self.rules[t].ascends).collect();
        let sum = ascending.iter().map(|&tensor| adaptive(tensor, &self.slow)).sum::<f64>();
        // What is not perturbed takes part with the mean of what is.
        let mean = sum / ascending.len() as f64;
        let alphas: Vec<f64> = (0..self.slow.len())
            .map(|tensor| match alpha {
                Alpha::Static(alpha) => alpha,
                Alpha::Adaptive if self.rules[tensor].ascends => adaptive(tensor, &self.slow),
                Alpha::Adaptive => mean,
            })
            .collect();
        for (tensor, slow) in self.slow.iter_mut().enumerate() {
            let alpha = alphas[tensor];
            for (slow, fast) in slow.iter_mut().zip(&last[tensor]) {
                *slow += alpha * (fast - *slow);
            }
        }
    }
}

fn mean(gradients: &[Values]) -> Values {
    let mut sum = gradients[0].clone();
    gradients[1..].iter().for_each(|gradient| each(&mut sum, gradient, |sum, g| sum + g));
    sum.iter_mut().flatten().for_each(|sum| *sum /= gradients.len() as f64);
    sum
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(x, y) / (dot(x, x).sqrt().max(1e-8) * dot(y, y).sqrt().max(1e-8))
}
