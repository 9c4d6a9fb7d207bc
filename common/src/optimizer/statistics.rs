//! Running statistics of normalisation layers (design, section 2, "Normalisation statistics").

use std::sync::Arc;

use super::passes;
use super::program::{Point, Role};
use crate::arena::Arena;
use crate::job::BatchStatistics;

/// Weight of a batch in the running average.
const MOMENTUM: f64 = 0.1;

/// Running averages of batch statistics. They follow the evaluations and are not interpolated.
#[derive(Debug)]
pub(super) struct RunningStatistics {
    /// The averages, in the layout's order.
    pub(super) values: Arc<Arena>,
    /// Which evaluations count.
    pub(super) counted: BatchStatistics,
}

impl RunningStatistics {
    /// Counts the batch statistics of the outer step's evaluation number `index`: as often as the published
    /// reference would have passed its batch through the model.
    pub(super) fn absorb(&mut self, index: u32, role: Role, batch: &Arena) {
        if batch.is_empty() {
            return;
        }
        let unperturbed = index == 0 || role.at == Point::Fast;
        let times = match self.counted {
            BatchStatistics::Unperturbed if !unperturbed => 0,
            _ => role.passes(),
        };
        if times > 0 {
            let running: &mut Arena = Arc::make_mut(&mut self.values);
            (0..times).for_each(|_| passes::average(running, batch, MOMENTUM));
        }
    }
}

#[cfg(test)]
#[path = "statistics_test.rs"]
mod tests;
