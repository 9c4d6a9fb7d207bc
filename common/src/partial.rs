//! Partials: what workers compute for the shards of a request.

use crate::flat_buffer::FlatBuffer;

/// Sums over samples that belong to a partial in addition to its gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Sum of the samples' losses, in nats.
    pub loss: f64,
    /// Number of samples that were classified correctly.
    pub correct: u64,
    /// Number of samples.
    pub samples: u64,
}

impl Sums {
    /// Adds `right` to `self`. Callers must add in the order of the reduction tree, which affects the last bits of the
    /// loss.
    pub fn add(&mut self, right: &Sums) {
        self.loss += right.loss;
        self.correct += right.correct;
        self.samples += right.samples;
    }

    /// Mean loss over the samples, in nats; NaN without samples.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples as f64
    }

    /// Fraction of the samples that were classified correctly, 0 to 1; NaN without samples.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }
}

/// The partial of a shard, or the sum of the partials of a segment's shards in the order of the reduction tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Gradient of (sum of the samples' losses) / (number of samples of the whole batch), in the order of the layout.
    /// Empty for test requests.
    pub gradient: FlatBuffer,
    /// Batch statistics: mean and unbiased variance of each normalisation layer, weighted by the shard's share of the
    /// batch, in the order of the layout. Empty for models without running statistics and for test requests.
    pub statistics: FlatBuffer,
    /// Loss, correct samples and samples.
    pub sums: Sums,
}
