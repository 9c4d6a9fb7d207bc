//! The methods of the family. Each is a list of the gradients of an outer step, with the weights at which each is
//! computed and its uses; the methods differ in nothing else.
//!
//! Each method has a file of its own that follows its paper. φ are the slow weights, f the fast weights, φ′ the
//! perturbed weights, and L is the mean loss over a batch. An outer step begins with f = φ′ = φ, and
//!
//! - ε(g) = ρ · T²g / (‖T g‖ + 1e-16) is an ascent, with T = 1 or, adaptive, T = |φ′| + η (`elementwise`, `update`);
//! - base(f, g) is a step of the base optimizer, such as SGD or AdamW, whose state persists over all outer steps (`base`);
//! - φ = φ + α (f − φ) ends the outer step, with a fixed α or one for each tensor (`interpolation`).

mod lookahead;
mod lookahead_sam;
mod lookbehind;
mod multistep_sam;
mod rwp;
mod sam;
mod sgd;

pub(super) use self::rwp::direction;
use super::visit::Visit;
use crate::job::{Alpha, InnerGradients, Method, Minibatch, Perturbation};

/// The gradients of an outer step with `inner_steps` inner steps, in the order in which they are computed.
fn gradients(method: &Method, inner_steps: u32) -> Vec<GradientUse> {
    match method {
        Method::Sgd => sgd::gradients(),
        Method::Sam { .. } => sam::gradients(0).to_vec(),
        Method::Lookahead { .. } => lookahead::gradients(inner_steps),
        Method::LookaheadSam { .. } => lookahead_sam::gradients(inner_steps),
        Method::MultistepSam { descent, .. } => multistep_sam::gradients(inner_steps, *descent),
        Method::Rwp { .. } => rwp::gradients(),
        Method::Lookbehind { gradients: InnerGradients::Reuse, .. } => lookbehind::reused(inner_steps),
        // A visit has each gradient once: the second computation would give the same bytes.
        Method::Lookbehind { ascent, .. } if ascent.perturbation == Perturbation::Shard => {
            lookbehind::reused(inner_steps)
        }
        Method::Lookbehind { gradients: InnerGradients::Reference(_), .. } => {
            lookbehind::reference(inner_steps)
        }
    }
}

/// Whether the last gradient descends and does not ascend. The optimizer ends an outer step with a descent whatever the
/// last gradient says, so other sequences would not be followed.
fn ends_with_a_descent(gradients: &[GradientUse]) -> bool {
    gradients.last().is_some_and(|last| last.descends && !last.ascends)
}

/// Number of gradients of a full outer step of a method, each of one batch.
pub fn gradients_per_outer_step(method: &Method) -> u64 {
    gradients(method, method.parts().inner_steps()).len() as u64
}

/// Number of requests, each to all shards of a batch, in which the gradients of a full outer step are computed: one for
/// each gradient, or one for each visit (see [`Visit`]).
pub fn requests_per_outer_step(method: &Method) -> u64 {
    let gradients = gradients_per_outer_step(method);
    Visit::of(method).map_or(gradients, |visit| gradients / u64::from(visit.gradients()))
}

/// Numbers of gradients and of those that descend, alone or in a mean, in a path of the method: from unperturbed weights up
/// to where perturbed weights begin anew, or to the end of the outer step. All paths of a method are alike, and the
/// gradients that descend come last.
pub(super) fn visited(method: &Method) -> (u32, u32) {
    let gradients = gradients(method, method.parts().inner_steps());
    let ends = |(index, gradient): (usize, &GradientUse)| index > 0 && gradient.at == WeightSet::Fast;
    let length = gradients.iter().enumerate().position(ends).unwrap_or(gradients.len());
    let descents =
        gradients.iter().take(length).filter(|gradient| gradient.descends || gradient.averaged).count();
    (length as u32, descents as u32)
}

/// Weights at which a gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WeightSet {
    /// The fast weights f; the slow ones before the first descent.
    Fast,
    /// The perturbed weights φ′; the slow ones before the first ascent.
    Perturbed,
}

/// One gradient of an outer step and its uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GradientUse {
    /// Inner step whose batch it is computed on, from 0.
    inner: u32,
    /// Weights at which it is computed.
    pub(super) at: WeightSet,
    /// Whether the perturbed weights become `at` + ε(g).
    pub(super) ascends: bool,
    /// Whether the base optimizer takes a descent with it.
    pub(super) descends: bool,
    /// Whether the next descent is with the mean of it and the gradients after it.
    pub(super) averaged: bool,
}

impl GradientUse {
    /// A gradient at the fast weights, on the batch of inner step `inner`, without any use yet.
    fn at_fast(inner: u32) -> Self {
        Self { inner, at: WeightSet::Fast, ascends: false, descends: false, averaged: false }
    }

    /// A gradient at the perturbed weights, on the batch of inner step `inner`, without any use yet.
    fn at_perturbed(inner: u32) -> Self {
        Self { inner, at: WeightSet::Perturbed, ascends: false, descends: false, averaged: false }
    }

    /// The same gradient with an ascent: φ′ = the weights at which it was computed + ε(g).
    fn ascends(self) -> Self {
        Self { ascends: true, ..self }
    }

    /// The same gradient with a descent: f = base(f, g).
    fn descends(self) -> Self {
        Self { descends: true, ..self }
    }

    /// The same gradient as a part of the mean with which the next descent is.
    fn averaged(self) -> Self {
        Self { averaged: true, ..self }
    }

    /// Number of forward passes of the published reference code that the gradient replaces: one for each use.
    pub(super) fn replaced_passes(self) -> u32 {
        u32::from(self.ascends) + u32::from(self.descends)
    }
}

/// The gradients of one outer step and the interpolation that ends it.
#[derive(Clone, Debug)]
pub(super) struct GradientSchedule {
    gradients: Vec<GradientUse>,
    minibatch: Minibatch,
    pub(super) inner_steps: u32,
    /// Interpolation factor; `None` if the slow weights become the fast ones, also for α = 1.
    pub(super) interpolation: Option<Alpha>,
}

impl GradientSchedule {
    /// The schedule of an outer step with `batches` batches. A method with a batch for each inner step does at most
    /// this many inner steps, so the last outer step of an epoch may be shorter.
    ///
    /// # Panics
    /// If there is no batch or no inner step, which a checked job excludes, or if the sequence of the method does not
    /// end with a descent.
    pub(super) fn new(method: &Method, batches: u32) -> Self {
        let parts = method.parts();
        let inner_steps = match parts.minibatch {
            Minibatch::Same => parts.inner_steps(),
            Minibatch::Switch => parts.inner_steps().min(batches),
        };
        assert!(
            inner_steps > 0,
            "an outer step has an inner step and a batch: {method:?}, {batches} batches"
        );
        let gradients = gradients(method, inner_steps);
        assert!(
            ends_with_a_descent(&gradients),
            "the last gradient of an outer step descends and does not ascend: {method:?}"
        );
        Self {
            gradients,
            minibatch: parts.minibatch,
            inner_steps,
            interpolation: parts.alpha.filter(|&alpha| alpha != Alpha::Static(1.0)),
        }
    }

    /// Number of gradients.
    pub(super) fn len(&self) -> u32 {
        self.gradients.len() as u32
    }

    /// The gradient number `index`.
    pub(super) fn gradient(&self, index: u32) -> GradientUse {
        self.gradients[index as usize]
    }

    /// Batch on which the gradient number `index` is computed: its number within the outer step.
    pub(super) fn batch(&self, index: u32) -> u32 {
        match self.minibatch {
            Minibatch::Same => 0,
            Minibatch::Switch => self.gradient(index).inner,
        }
    }

    /// Whether the gradient number `index` is the outer step's last.
    pub(super) fn is_last(&self, index: u32) -> bool {
        index as usize + 1 == self.gradients.len()
    }

    /// Whether the gradient number `index` is computed at other weights than the one before it.
    pub(super) fn weights_changed(&self, index: u32) -> bool {
        let Some(before) = index.checked_sub(1).map(|before| self.gradient(before)) else {
            return true; // The outer step before has moved them, or there are none yet.
        };
        let at = self.gradient(index).at;
        at != before.at
            || match at {
                WeightSet::Fast => before.descends,
                WeightSet::Perturbed => before.ascends,
            }
    }
}

#[cfg(test)]
mod tests;
