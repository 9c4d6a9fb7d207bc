//! Which samples a shard of a request holds.

use std::ops::Range;

use lookbehind_common::job::{JobError, JobSpec};
use lookbehind_common::reduction::{effective_shards, shard_range};
use lookbehind_common::sampling::{Plan, epoch_order};
use lookbehind_common::test_set::TestSet;

use super::{ComputeError, Request, RequestKind};

/// Batches and shards of a job.
pub(super) struct Sampler {
    seed: u64,
    shuffle: bool,
    /// At least one batch, and each batch at least one sample.
    plan: Plan,
    /// At least one.
    shards: u32,
    /// Numbers of samples of the tests, in the order of [`TestSet::ALL`].
    tests: [u64; 4],
    /// The orders of the two epochs that were requested last, the newest at the end.
    orders: Vec<(u64, Vec<u64>)>,
}

/// The samples of a shard of a batch.
pub(super) struct BatchShard {
    /// Numbers within the training split.
    pub(super) samples: Vec<u64>,
    /// Samples in the whole batch.
    pub(super) batch_samples: u64,
}

impl Sampler {
    /// Plans a job on a data set.
    pub(super) fn new(spec: &JobSpec, train_samples: u64, tests: [u64; 4]) -> Result<Self, JobError> {
        let batch_size = spec.train.batch_size;
        let drop_last = spec.data.drop_last;
        let batches = spec.optimizer.method.batches_per_outer_step();
        if drop_last && batch_size > train_samples {
            let problem = format!(
                "expected at most the training split's {train_samples} samples with data.drop_last, found {batch_size}"
            );
            return Err(JobError::new("train.batch_size", &problem));
        }
        let plan =
            Plan::new(train_samples, batch_size, drop_last, batches, spec.train.length).ok_or_else(|| {
                JobError::new("train", "the run has no batch or more steps than can be counted")
            })?;
        let shards = spec.train.shards;
        Ok(Self { seed: spec.seed, shuffle: spec.data.shuffle, plan, shards, tests, orders: Vec::new() })
    }

    /// Number of samples in the largest shard of a batch.
    pub(super) fn largest_shard(&self) -> u64 {
        let samples = self.plan.batch_samples(0);
        samples.div_ceil(u64::from(effective_shards(samples, self.shards)))
    }

    /// Number of shards of a full batch.
    pub(super) fn most_shards(&self) -> u32 {
        effective_shards(self.plan.batch_samples(0), self.shards)
    }

    /// The samples of a shard of a batch.
    pub(super) fn batch_shard(&mut self, request: &Request, shard: u32) -> Result<BatchShard, ComputeError> {
        let batches = self.plan.batches_per_epoch();
        if request.batch >= batches {
            return Err(ComputeError::NoSuchBatch { batch: request.batch, batches });
        }
        let batch_samples = self.plan.batch_samples(request.batch);
        let range = checked_range(batch_samples, request.shards, shard)?;
        let start = request.batch * self.plan.batch_size;
        let (start, end) = ((start + range.start) as usize, (start + range.end) as usize);
        Ok(BatchShard { samples: self.order(request.epoch)[start..end].to_vec(), batch_samples })
    }

    /// The request that follows in the order of batches, whether or not the run continues that far.
    pub(super) fn following(&self, request: &Request) -> Request {
        let (epoch, batch) = match request.batch.saturating_add(1) {
            next if next < self.plan.batches_per_epoch() => (request.epoch, next),
            _ => (request.epoch.saturating_add(1), 0),
        };
        Request { epoch, batch, ..*request }
    }

    /// The samples of a shard of a test.
    pub(super) fn test_shard(
        &self,
        set: TestSet,
        request: &Request,
        shard: u32,
    ) -> Result<Range<u64>, ComputeError> {
        checked_range(self.tests[set as usize], request.shards, shard)
    }

    /// A request and shard for each shard size of the job: those of a full batch and of an epoch's last one.
    pub(super) fn shard_sizes(&self) -> Vec<(Request, u32)> {
        let last = self.plan.batches_per_epoch() - 1;
        let mut sizes = Vec::new();
        let mut found = Vec::new();
        for batch in [0, last] {
            let samples = self.plan.batch_samples(batch);
            let shards = effective_shards(samples, self.shards);
            for shard in [0, shards - 1] {
                let range = shard_range(samples, shards, shard);
                let size = range.end - range.start;
                if !sizes.contains(&size) {
                    sizes.push(size);
                    found.push((Request { kind: RequestKind::Gradient, epoch: 0, batch, shards }, shard));
                }
            }
        }
        found
    }

    fn order(&mut self, epoch: u64) -> &[u64] {
        // Without shuffling the order is the same in every epoch, so all epochs share one entry.
        let epoch = if self.shuffle { epoch } else { 0 };
        let known = self.orders.iter().position(|(known, _)| *known == epoch);
        let place = known.unwrap_or_else(|| {
            self.orders.drain(..self.orders.len().saturating_sub(1));
            let order = epoch_order(self.seed, epoch, self.plan.samples, self.shuffle);
            self.orders.push((epoch, order));
            self.orders.len() - 1
        });
        &self.orders[place].1
    }
}

fn checked_range(samples: u64, shards: u32, shard: u32) -> Result<Range<u64>, ComputeError> {
    let shards = effective_shards(samples, shards);
    if shard < shards {
        Ok(shard_range(samples, shards, shard))
    } else {
        Err(ComputeError::NoSuchShard { shard, shards })
    }
}

#[cfg(test)]
mod tests;
