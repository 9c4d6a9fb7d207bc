//! The weights of an outer step: slow, fast and perturbed. At its beginning they share one flat buffer. The first write
//! of the fast or perturbed weights goes to a flat buffer of their own.

use std::sync::Arc;

use super::buffers::{Pool, Writing};
use super::methods::WeightSet;
use crate::flat_buffer::FlatBuffer;

/// Slow, fast and perturbed weights. A flat buffer that has other readers is never written.
#[derive(Debug)]
pub(super) struct Weights {
    /// φ after the last outer step.
    pub(super) slow: Arc<FlatBuffer>,
    /// f after the last descent; `None` if that is `first`, or before the first descent.
    fast: Option<Arc<FlatBuffer>>,
    /// f after the first descent, if adaptive interpolation needs it.
    first: Option<Arc<FlatBuffer>>,
    /// φ′; `None` before the first ascent.
    perturbed: Option<Arc<FlatBuffer>>,
}

impl Weights {
    /// The weights at the beginning of an outer step: all are `slow`.
    pub(super) fn new(slow: Arc<FlatBuffer>) -> Self {
        Self { slow, fast: None, first: None, perturbed: None }
    }

    /// The current weights of a set; before the first move of that set, the slow weights.
    pub(super) fn at(&self, set: WeightSet) -> &Arc<FlatBuffer> {
        match set {
            WeightSet::Fast => self.fast.as_ref().or(self.first.as_ref()),
            WeightSet::Perturbed => self.perturbed.as_ref(),
        }
        .unwrap_or(&self.slow)
    }

    /// The fast weights after the first descent; `None` if they were not kept.
    pub(super) fn first(&self) -> Option<&FlatBuffer> {
        self.first.as_deref()
    }

    /// Opens the perturbed weights for an ascent that starts at `from`; in place if it starts at their own values.
    pub(super) fn open_perturbed(&mut self, from: WeightSet, pool: &mut Pool) -> Writing {
        match (self.perturbed.take(), from) {
            (Some(perturbed), WeightSet::Perturbed) => pool.rewrite(perturbed),
            (perturbed, _) => {
                if let Some(perturbed) = perturbed {
                    pool.retire(perturbed);
                }
                pool.derive(self.at(from))
            }
        }
    }

    pub(super) fn close_perturbed(&mut self, writing: Writing) {
        self.perturbed = Some(writing.finish());
    }

    /// Opens the fast weights for a descent.
    pub(super) fn open_fast(&mut self, pool: &mut Pool) -> Writing {
        match self.fast.take() {
            Some(fast) => pool.rewrite(fast),
            None => pool.derive(self.at(WeightSet::Fast)),
        }
    }

    /// Ends a descent. With `keep`, its result is kept as that of the first descent.
    pub(super) fn set_fast(&mut self, weights: Arc<FlatBuffer>, keep: bool) {
        if keep {
            self.first = Some(weights);
        } else {
            self.fast = Some(weights);
        }
    }

    /// Prepares the last descent: the perturbed weights are not needed any more, and without interpolation the slow
    /// weights may be overwritten by the fast ones.
    pub(super) fn prepare_last(&mut self, interpolates: bool, pool: &mut Pool) {
        if let Some(perturbed) = self.perturbed.take() {
            pool.retire(perturbed);
        }
        if !interpolates && self.fast.is_none() {
            self.fast = Some(std::mem::take(&mut self.slow));
        }
    }

    /// Ends the outer step with new slow weights.
    pub(super) fn finish(&mut self, slow: Arc<FlatBuffer>, pool: &mut Pool) {
        let old = std::mem::replace(self, Self::new(slow));
        for flat_buffer in [Some(old.slow), old.first, old.fast]
            .into_iter()
            .flatten()
            .filter(|flat_buffer| !flat_buffer.is_empty())
        {
            pool.retire(flat_buffer);
        }
    }
}
