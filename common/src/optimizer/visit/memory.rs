//! The two orders in which the shards of a worker climb, and the memory that each takes. Both come to the same bytes, so
//! the memory alone decides.

use super::Visit;
#[cfg(doc)]
use super::gradient_layout;
use crate::model_state::ModelState;

/// The order in which a worker computes the gradients of the visits of several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClimbOrder {
    /// Each shard climbs its whole path before the next one begins. All gradients of a visit wait until they are added to
    /// those of its neighbours.
    OneAfterAnother,
    /// All shards climb to their next gradient before any goes further. Each shard keeps its perturbed weights, and one
    /// gradient at a time is added over the shards.
    InStep,
}

impl ClimbOrder {
    /// Both orders.
    pub const ALL: [Self; 2] = [Self::OneAfterAnother, Self::InStep];

    /// The order in words, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneAfterAnother => "one after the other",
            Self::InStep => "in step",
        }
    }
}

impl Visit {
    /// The order in which `shards` shards take less memory; the arguments are those of [`Visit::bytes`].
    pub fn order(&self, model: ModelState<usize>, gradient: ModelState<usize>, shards: u32) -> ClimbOrder {
        let [one_after_another, in_step] =
            ClimbOrder::ALL.map(|order| self.bytes(order, model, gradient, shards));
        if in_step < one_after_another { ClimbOrder::InStep } else { ClimbOrder::OneAfterAnother }
    }

    /// Bytes of host memory that visits take in addition to the computation of a gradient, for a worker that computes
    /// `shards` shards in this order. `gradient` are the lengths of the [`gradient_layout`], those of the model unless
    /// tensors are frozen. With V parameters, k gradients that descend and m shards, running statistics aside:
    ///
    /// - one after the other: the slow weights, one shard's perturbed weights, and ⌊log₂ m⌋ + 1 partials of visits that
    ///   wait to be added or are being put together: (2 + k (⌊log₂ m⌋ + 1)) V values;
    /// - in step: the slow weights, all perturbed weights, ⌊log₂ m⌋ gradients that wait to be added, and the partial of all
    ///   visits: (1 + m + ⌊log₂ m⌋ + k) V values.
    pub fn bytes(
        &self,
        order: ClimbOrder,
        model: ModelState<usize>,
        gradient: ModelState<usize>,
        shards: u32,
    ) -> u64 {
        let of = |lengths: ModelState<usize>| {
            (lengths.parameters as u64).saturating_add(lengths.statistics as u64)
        };
        let (shards, depth) = (u64::from(shards.max(1)), u64::from(shards.max(1).ilog2()));
        let (weights, gradient, visits) = (of(model), of(gradient), of(self.lengths(gradient)));
        let elements = match order {
            ClimbOrder::OneAfterAnother => visits
                .saturating_mul(depth + 1)
                .saturating_add((model.parameters as u64).saturating_add(weights)),
            ClimbOrder::InStep => (model.parameters as u64)
                .saturating_mul(shards)
                .saturating_add(weights)
                .saturating_add(gradient.saturating_mul(depth))
                .saturating_add(visits),
        };
        elements.saturating_mul(size_of::<f32>() as u64)
    }
}

#[cfg(test)]
mod tests;
