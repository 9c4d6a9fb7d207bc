//! Which samples the batches of an epoch hold, and which batches outer steps use.

use crate::random::{Key, Purpose};

/// Samples, batches and outer steps of a job whose data set's size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Samples in the training split.
    pub samples: u64,
    /// Samples in a full batch.
    pub batch_size: u64,
    /// Whether the last batch of an epoch is left out if it is smaller.
    pub drop_last: bool,
    /// Batches of a full outer step.
    pub batches_per_outer_step: u64,
    /// Outer steps of the whole job.
    pub outer_steps: u64,
}

/// Progress of a job: what its next outer step begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Outer steps done.
    pub outer_step: u64,
    /// Epoch of the next batch, from 0.
    pub epoch: u64,
    /// Number of the next batch within the epoch, from 0.
    pub batch: u64,
}

/// A length of training in the unit that the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Passes over the training split.
    Epochs(u64),
    /// Outer steps.
    Steps(u64),
}

impl Plan {
    /// The plan of a job; `None` if an epoch has no batch or the number of outer steps overflows.
    pub fn new(
        samples: u64,
        batch_size: u64,
        drop_last: bool,
        batches_per_outer_step: u64,
        length: Length,
    ) -> Option<Self> {
        let mut plan = Self { samples, batch_size, drop_last, batches_per_outer_step, outer_steps: 0 };
        if batch_size == 0 || batches_per_outer_step == 0 || plan.batches_per_epoch() == 0 {
            return None;
        }
        plan.outer_steps = match length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs.checked_mul(plan.outer_steps_per_epoch())?,
        };
        Some(plan)
    }

    /// Samples in a full batch; the last batch of an epoch may be smaller.
    pub fn batch_size(&self) -> u64 {
        self.batch_size
    }

    /// Batches in an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        if self.drop_last { self.samples / self.batch_size } else { self.samples.div_ceil(self.batch_size) }
    }

    /// Outer steps in an epoch; the last one may have fewer batches.
    pub fn outer_steps_per_epoch(&self) -> u64 {
        self.batches_per_epoch().div_ceil(self.batches_per_outer_step)
    }

    /// Samples in the batch number `batch` of an epoch.
    pub fn batch_samples(&self, batch: u64) -> u64 {
        self.batch_size.min(self.samples.saturating_sub(batch.saturating_mul(self.batch_size)))
    }

    /// Batches of the outer step at `position`: possibly fewer at the end of an epoch, since an outer step does not
    /// span two epochs.
    pub fn batches_at(&self, position: Position) -> u64 {
        self.batches_per_outer_step.min(self.batches_per_epoch() - position.batch)
    }

    /// The position after the outer step at `position`.
    pub fn after(&self, position: Position) -> Position {
        let batch = position.batch + self.batches_at(position);
        let epoch_ends = batch >= self.batches_per_epoch();
        Position {
            outer_step: position.outer_step + 1,
            epoch: position.epoch + u64::from(epoch_ends),
            batch: if epoch_ends { 0 } else { batch },
        }
    }

    /// The position after `outer_step` outer steps.
    pub fn position(&self, outer_step: u64) -> Position {
        let per_epoch = self.outer_steps_per_epoch();
        Position {
            outer_step,
            epoch: outer_step / per_epoch,
            batch: outer_step % per_epoch * self.batches_per_outer_step,
        }
    }
}

/// The order of the samples in an epoch: that of the data set, or, with `shuffle`, one that is keyed by seed and epoch.
pub fn epoch_order(seed: u64, epoch: u64, samples: u64, shuffle: bool) -> Vec<u64> {
    let mut order: Vec<u64> = (0..samples).collect();
    if shuffle {
        Key { epoch, ..Key::new(seed, Purpose::Order) }.stream().shuffle(&mut order);
    }
    order
}

#[cfg(test)]
mod tests;
