//! Shards, or pieces of the test split, that a GPU has been told to compute.

use std::collections::VecDeque;

use candle_core::Result;
use lookbehind_common::contribution::Sums;

use lookbehind_kernels::cuda::Results;

/// How many may be queued on the GPU at once: one that it computes, and one that it finds when that is done.
const MOST: usize = 2;

/// Their results, in the order in which they were queued.
#[derive(Default)]
pub(super) struct InFlight(VecDeque<Results>);

impl InFlight {
    /// Whether one has to be done before another is queued.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    pub(super) fn push(&mut self, results: Results) {
        self.0.push_back(results);
    }

    /// Gives up what is queued.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Waits for the one that was queued first; what was counted in it. `None` where none is queued.
    pub(super) fn count_first(&mut self) -> Result<Option<Sums>> {
        let first = self.0.pop_front();
        first.map(|results| results.fetch().map(|(losses, correct)| counted(&losses, &correct))).transpose()
    }
}

/// In the samples' order.
fn counted(losses: &[f32], correct: &[u32]) -> Sums {
    Sums {
        loss: losses.iter().fold(0.0, |sum, &loss| sum + f64::from(loss)),
        correct: correct.iter().map(|&correct| u64::from(correct)).sum(),
        samples: losses.len() as u64,
    }
}
