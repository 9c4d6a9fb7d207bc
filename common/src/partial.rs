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
    /// What only visits have; `None` for a single gradient and for a test.
    pub visits: Option<VisitSums>,
}

/// Sums over the visits of shards (`perturbation = "shard"`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VisitSums {
    /// Sum of the samples' losses at the last gradient of their shard's visit, in nats.
    pub last_loss: f64,
    /// Sum of the Euclidean norms of the shards' first gradients as they are contributed, that is, divided by the
    /// number of samples of the whole batch. Over all shards, it is the mean of the norms of their mean gradients,
    /// weighted by the shards' shares of the batch.
    pub gradient_norm: f64,
}

impl Sums {
    /// Adds `right` to `self`. Callers must add in the order of the reduction tree, which affects the last bits of the
    /// loss.
    pub fn add(&mut self, right: &Sums) {
        self.loss += right.loss;
        self.correct += right.correct;
        self.samples += right.samples;
        self.visits = match (self.visits, right.visits) {
            (Some(left), Some(right)) => Some(VisitSums {
                last_loss: left.last_loss + right.last_loss,
                gradient_norm: left.gradient_norm + right.gradient_norm,
            }),
            (one, other) => one.or(other),
        };
    }

    /// Name and value of the first sum that is not finite; `None` if all are.
    pub fn not_finite(&self) -> Option<(&'static str, f64)> {
        let VisitSums { last_loss, gradient_norm } = self.visits.unwrap_or_default();
        let sums =
            [("loss", self.loss), ("last loss", last_loss), ("norm of the shards' gradients", gradient_norm)];
        sums.into_iter().find(|(_, sum)| !sum.is_finite())
    }

    /// Mean loss over the samples, in nats; NaN without samples.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples as f64
    }

    /// Mean loss over the samples at the last gradient: of the visits, or the only one there is.
    pub fn last_mean_loss(&self) -> f64 {
        self.visits.map_or(self.loss, |visits| visits.last_loss) / self.samples as f64
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
    /// Of visits, the gradients that descend, one after the other. Empty for test requests.
    pub gradient: FlatBuffer,
    /// Batch statistics: mean and unbiased variance of each normalisation layer, weighted by the shard's share of the
    /// batch, in the order of the layout. Of visits, those of all gradients, one after the other. Empty for models
    /// without running statistics and for test requests.
    pub statistics: FlatBuffer,
    /// Loss, correct samples and samples; of visits, those of the first gradient.
    pub sums: Sums,
}
