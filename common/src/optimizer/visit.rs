//! Visits: with `perturbation = "shard"`, the perturbed weights of a shard depend on the slow (or fast) weights and on
//! the shard alone. So one request asks for all gradients of a path:
//!
//! ```text
//! φ′₀ = φ ; g₀ = ∇Lₛ(φ′₀)
//! for i = 1..k:
//!     φ′ᵢ = φ′ᵢ₋₁ + ε(gᵢ₋₁)
//!     gᵢ = ∇Lₛ(φ′ᵢ)
//! ```
//!
//! with Lₛ the sum of the losses of shard s over the number of samples of the batch. The gradients that descend are sent,
//! one after the other in one flat buffer, and added over the shards like any other partial. The path itself is in
//! `climb`; the orders in which several shards climb are in `memory`.

mod memory;

pub use self::memory::ClimbOrder;

use super::Optimizer;
use super::check::Check;
use super::messages::{AbsorbError, Next};
use super::methods::visited;
use super::trained::gradient_layout;
use super::update::{Norms, norms};
use crate::job::{self, Method, OptimizerSpec, Perturbation};
use crate::layout::Layout;
use crate::model_state::ModelState;
use crate::partial::Partial;

/// The visits of a method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    pub(super) ascent: job::Ascent,
    /// Number of gradients, at least 2; all but the last one ascend.
    gradients: u32,
    /// Number of gradients that descend, alone or in a mean: the last ones.
    descents: u32,
}

impl Visit {
    /// The visits of a method; `None` if its shards do not climb by themselves.
    pub fn of(method: &Method) -> Option<Self> {
        let ascent = method.parts().ascent.filter(|ascent| ascent.perturbation == Perturbation::Shard)?;
        let (gradients, descents) = visited(method);
        Some(Self { ascent, gradients, descents })
    }

    /// Number of gradients that a visit computes.
    pub fn gradients(&self) -> u32 {
        self.gradients
    }

    /// Number of gradients that are sent: those that descend, the last ones.
    pub fn descents(&self) -> u32 {
        self.descents
    }

    /// The position of the gradient number `index` of a path among those that are sent; `None` if it only ascends.
    pub(super) fn sent(&self, index: u32) -> Option<u32> {
        index.checked_sub(self.gradients - self.descents)
    }

    /// Lengths of the flat buffers of a visit's partial, for gradients and batch statistics of these lengths.
    pub(super) fn lengths(&self, gradient: ModelState<usize>) -> ModelState<usize> {
        ModelState {
            parameters: gradient.parameters.saturating_mul(self.descents as usize),
            statistics: gradient.statistics.saturating_mul(self.gradients as usize),
        }
    }

    /// The gradients of the sum of the visits that begin with the outer step's gradient number `first`; `layout` is that of
    /// the gradients.
    fn gradients_in<'a>(
        &self,
        visits: &'a Partial,
        layout: &Layout,
        first: u32,
    ) -> Result<Vec<VisitGradient<'a>>, AbsorbError> {
        let check = Check { gradient: first, layout };
        check.visits(visits, self.lengths(layout.lengths()))?;
        let gradient = |index: u32| VisitGradient {
            number: first + index,
            sent: self.sent(index).map(|sent| part(&visits.gradient, layout.parameters(), sent)),
            statistics: part(&visits.statistics, layout.statistics(), index),
        };
        Ok((0..self.gradients).map(gradient).collect())
    }
}

/// Lengths of gradient and batch statistics in the partials of a job's gradient requests, for a model with this layout.
/// This is the only place that decides on them.
pub fn partial_lengths(spec: &OptimizerSpec, layout: &Layout) -> ModelState<usize> {
    let gradient = gradient_layout(spec, layout).lengths();
    Visit::of(&spec.method).map_or(gradient, |visit| visit.lengths(gradient))
}

/// One gradient of a sum of visits.
struct VisitGradient<'a> {
    /// Its number within the outer step, from 0.
    number: u32,
    /// Its values; `None` if it only ascends.
    sent: Option<&'a [f32]>,
    /// Statistics of its batch.
    statistics: &'a [f32],
}

/// The part number `index` of a flat buffer that consists of parts of this length.
fn part(flat_buffer: &[f32], length: usize, index: u32) -> &[f32] {
    let start = index as usize * length;
    &flat_buffer[start..start + length]
}

impl Optimizer {
    /// Takes the sum of the visits that were requested last, and returns what follows. The gradients are taken one after
    /// the other, as if each had been requested.
    ///
    /// # Errors
    /// If a value is not finite, a flat buffer does not have its length, or no visits were requested.
    pub fn absorb_visits(&mut self, visits: &Partial) -> Result<Next, AbsorbError> {
        let mut step = self.requested(true)?;
        let (visit, sums) = self.visit.zip(visits.sums.visits).ok_or(AbsorbError::NotAskedFor)?;
        let trained = self.trained.clone();
        let gradients = visit.gradients_in(visits, &trained.gradients, step.index)?;
        // All are checked before one is taken: an error leaves the optimizer unchanged.
        let measured: Vec<_> =
            gradients.iter().map(|gradient| self.measure_visited(gradient)).collect::<Result<_, _>>()?;
        if step.index == 0 {
            step.gradient_norm = sums.gradient_norm;
        }
        for (gradient, norms) in gradients.into_iter().zip(measured) {
            self.statistics.absorb(gradient.number, step.gradient(), gradient.statistics);
            if let Some((sent, norms)) = gradient.sent.zip(norms) {
                let sent = trained.spread(sent);
                if step.schedule.is_last(gradient.number) {
                    return self.end(&step, norms, &sent);
                }
                self.advance(&step, norms, &sent);
            }
            step.advance();
        }
        Ok(self.ask(step))
    }

    /// Checks a gradient of a sum of visits, and computes its norms if it was sent.
    fn measure_visited(&self, gradient: &VisitGradient<'_>) -> Result<Option<Norms>, AbsorbError> {
        let check = Check { gradient: gradient.number, layout: &self.trained.gradients };
        check.finite_statistics(gradient.statistics)?;
        let Some(sent) = gradient.sent else { return Ok(None) };
        let spread = self.trained.spread(sent);
        let norms = norms(&self.blocks, &spread, &spread, None);
        check.finite_gradient(norms.plain, sent)?;
        Ok(Some(norms))
    }
}

#[cfg(test)]
mod tests;
