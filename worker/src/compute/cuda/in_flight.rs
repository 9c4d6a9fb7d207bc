//! Shards, or pieces of the test split, that are queued on a GPU.

use std::collections::VecDeque;

use candle_core::Result;
use lookbehind_common::partial::Sums;

use lookbehind_kernels::cuda::Results;

/// Most that may be queued at once: one that the GPU computes, and one that it can start as soon as that is done.
const MOST: usize = 2;

/// Results, in the order in which they were queued.
#[derive(Default)]
pub(super) struct InFlight(VecDeque<Results>);

impl InFlight {
    /// Whether one must be done before another may be queued.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    pub(super) fn push(&mut self, results: Results) {
        self.0.push_back(results);
    }

    /// Discards what is queued.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Waits for the one that was queued first and returns its sums. `None` if nothing is queued.
    pub(super) fn count_first(&mut self) -> Result<Option<Sums>> {
        let first = self.0.pop_front();
        first.map(|results| results.fetch().map(|(losses, correct)| counted(&losses, &correct))).transpose()
    }
}

/// Adds losses and correct predictions in the order of the samples.
fn counted(losses: &[f32], correct: &[u32]) -> Sums {
    Sums {
        loss: losses.iter().fold(0.0, |sum, &loss| sum + f64::from(loss)),
        correct: correct.iter().map(|&correct| u64::from(correct)).sum(),
        samples: losses.len() as u64,
        visits: None,
    }
}
