//! Running statistics of normalisation layers.
//!
//! The published reference code does 2k forward passes per outer step of Lookbehind, and each updates the running
//! averages. A gradient that serves both an ascent and a descent replaces two of these passes, so its batch statistics
//! count twice. In this way k + 1 gradients give the running statistics of 2k passes.

use std::sync::Arc;

use super::elementwise;
use super::methods::{GradientUse, WeightSet};
use crate::flat_buffer::FlatBuffer;
use crate::job::BatchStatistics;

/// Weight of a new batch in the running average.
const MOMENTUM: f64 = 0.1;

/// Running averages of batch statistics. They are updated with the gradients and not interpolated.
#[derive(Debug)]
pub(super) struct RunningStatistics {
    /// The averages, in the order of the layout.
    pub(super) values: Arc<FlatBuffer>,
    /// Which gradients update them.
    pub(super) counted: BatchStatistics,
}

impl RunningStatistics {
    /// Takes the batch statistics of the outer step's gradient number `index`, as often as the published reference code
    /// would do a forward pass. The first gradient counts as unperturbed, since before the first ascent the perturbed
    /// weights are the slow ones.
    pub(super) fn absorb(&mut self, index: u32, gradient: GradientUse, batch: &[f32]) {
        if batch.is_empty() {
            return;
        }
        let unperturbed = index == 0 || gradient.at == WeightSet::Fast;
        let times = match self.counted {
            BatchStatistics::Frozen => 0,
            BatchStatistics::Unperturbed if !unperturbed => 0,
            _ => gradient.replaced_passes(),
        };
        if times > 0 {
            let running: &mut FlatBuffer = Arc::make_mut(&mut self.values);
            (0..times).for_each(|_| elementwise::average(running, batch, MOMENTUM));
        }
    }
}

#[cfg(test)]
mod tests;
