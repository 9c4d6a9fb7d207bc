//! Running statistics of normalisation layers.
//!
//! The published reference passes the batch through the model 2k times per outer step of Lookbehind, and each pass updates
//! the running averages. A gradient that serves an ascent and a descent stands for two of its passes, so its batch
//! statistics count twice, and k + 1 gradients leave what 2k passes would.

use std::sync::Arc;

use super::elementwise;
use super::methods::{GradientUse, WeightSet};
use crate::flat_buffer::FlatBuffer;
use crate::job::BatchStatistics;

/// Weight of a batch in the running average.
const MOMENTUM: f64 = 0.1;

/// Running averages of batch statistics. They follow the gradients and are not interpolated.
#[derive(Debug)]
pub(super) struct RunningStatistics {
    /// The averages, in the layout's order.
    pub(super) values: Arc<FlatBuffer>,
    /// Which gradients count.
    pub(super) counted: BatchStatistics,
}

impl RunningStatistics {
    /// Counts the batch statistics of the outer step's gradient number `index`: as often as the published
    /// reference would have passed its batch through the model. Before the first ascent the perturbed weights are the
    /// slow ones.
    pub(super) fn absorb(&mut self, index: u32, gradient: GradientUse, batch: &FlatBuffer) {
        if batch.is_empty() {
            return;
        }
        let unperturbed = index == 0 || gradient.at == WeightSet::Fast;
        let times = match self.counted {
            BatchStatistics::Unperturbed if !unperturbed => 0,
            _ => gradient.passes(),
        };
        if times > 0 {
            let running: &mut FlatBuffer = Arc::make_mut(&mut self.values);
            (0..times).for_each(|_| elementwise::average(running, batch, MOMENTUM));
        }
    }
}

#[cfg(test)]
mod tests;
