//! What a shard, or the sum over a segment of shards, contributes to an evaluation.

use crate::flat_buffer::FlatBuffer;

/// Sums over samples that are kept beside the gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Sum of the samples' losses, in nats.
    pub loss: f64,
    /// Samples classified rightly.
    pub correct: u64,
    /// Samples.
    pub samples: u64,
}

impl Sums {
    /// Adds `right` behind `self`; the order matters to the last bit of the loss.
    pub fn add(&mut self, right: &Sums) {
        self.loss += right.loss;
        self.correct += right.correct;
        self.samples += right.samples;
    }

    /// Mean loss over the samples; NaN where there are none.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples as f64
    }

    /// Share of samples classified rightly; NaN where there are none.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }
}

/// Partial of a shard to an evaluation, or the canonical sum of those of a segment's shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Gradient of (sum of the samples' losses) / (samples of the whole batch), in the layout's order.
    /// Empty for work on the test split.
    pub gradient: FlatBuffer,
    /// Batch mean and unbiased variance of each normalisation layer, weighted by the shard's share of the
    /// batch, in the layout's order. Empty for models without statistics and for work on the test split.
    pub statistics: FlatBuffer,
    /// Sums over the samples.
    pub sums: Sums,
}
