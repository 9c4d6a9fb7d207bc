//! A job's samples, shard by shard: which ones a shard holds, and themselves, prepared ahead.

use std::ops::Range;
use std::time::Duration;

use lookbehind_common::job::JobDescription;
use lookbehind_common::layout::Layout;

use super::batch::Batch;
use super::loader::{Loader, Part, Request};
use super::panics;
use super::sampler::{BatchShard, Sampler};
use super::{ComputeError, Work, WorkKind};
use crate::data::{DataDescription, Split};

/// A data set as a job goes through it.
pub(super) struct Samples {
    pub(super) loader: Loader,
    pub(super) sampler: Sampler,
    /// Kinds of model and data set, for errors.
    pub(super) kinds: Kinds,
}

/// A shard's samples, or some of the test split, ready to compute with.
pub(super) struct Inputs {
    pub(super) work: Work,
    pub(super) batch: Batch,
    /// The samples' numbers.
    pub(super) samples: Vec<u64>,
    /// Samples of the whole batch, by which the shard's gradient is divided.
    pub(super) batch_samples: u64,
}

/// What model and data set are called in errors.
#[derive(Clone)]
pub(super) struct Kinds {
    pub(super) model: String,
    pub(super) data: String,
}

impl Kinds {
    pub(super) fn panicked(&self, panic: panics::Panic) -> ComputeError {
        ComputeError::Panicked { model: self.model.clone(), data: self.data.clone(), panic }
    }
}

impl Samples {
    pub(super) fn description(&self) -> &DataDescription {
        self.loader.dataset().description()
    }

    /// What data and a model of this layout are; every worker must answer the same.
    pub(super) fn describe(&self, layout: &Layout) -> JobDescription {
        let data = self.description();
        JobDescription {
            layout: layout.clone(),
            train_samples: data.train_samples,
            test_samples: data.test_samples,
            data_fingerprint: data.fingerprint,
        }
    }

    /// A shard's samples; those of the same shard of the next batch are prepared meanwhile.
    pub(super) fn shard(&mut self, work: &Work, shard: u32) -> Result<Inputs, ComputeError> {
        let following = self.sampler.following(work);
        let next = match self.sampler.batch_shard(&following, shard) {
            Ok(next) => next.samples,
            // An epoch's last batch may have fewer shards; those that it has stay wanted.
            Err(ComputeError::NoSuchShard { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let next = Request { part: batch_part(&following), samples: next };
        let shard = self.sampler.batch_shard(work, shard)?;
        self.inputs(work, shard, Some(next))
    }

    /// The training split's first samples, as a shard.
    pub(super) fn first(&mut self, samples: u64) -> Result<Inputs, ComputeError> {
        let work = Work { kind: WorkKind::Gradient, epoch: 0, batch: 0, shards: 1 };
        self.inputs(&work, BatchShard { samples: (0..samples).collect(), batch_samples: samples }, None)
    }

    /// A shard of the test split in pieces as large as the largest shard in training, so that both need the same memory.
    pub(super) fn test_pieces(&self, work: &Work, shard: u32) -> Result<Vec<Range<u64>>, ComputeError> {
        let range = self.sampler.test_shard(work, shard)?;
        let size = self.sampler.largest_shard();
        let (mut pieces, mut start) = (Vec::new(), range.start);
        while start < range.end {
            let end = range.end.min(start + size);
            pieces.push(start..end);
            start = end;
        }
        Ok(pieces)
    }

    /// Some samples of the test split; the ones that follow are prepared meanwhile.
    pub(super) fn test(
        &mut self,
        epoch: u64,
        samples: Range<u64>,
        next: Option<Range<u64>>,
    ) -> Result<Inputs, ComputeError> {
        let request = |samples: Range<u64>| Request {
            part: Part { split: Split::Test, epoch, number: samples.start },
            samples: samples.collect(),
        };
        let (request, next) = (request(samples), next.map(request));
        let batch = self.get(&request, next)?;
        let work = Work { kind: WorkKind::Test, epoch, batch: 0, shards: 1 };
        let batch_samples = request.samples.len() as u64;
        Ok(Inputs { work, batch, samples: request.samples, batch_samples })
    }

    /// Samples of the test split that the probe takes.
    pub(super) fn test_probe(&self) -> Range<u64> {
        0..self.description().test_samples.min(self.sampler.largest_shard())
    }

    /// How long callers have waited for their samples, all in all.
    pub(super) fn waited(&self) -> Duration {
        self.loader.waited()
    }

    fn inputs(
        &mut self,
        work: &Work,
        shard: BatchShard,
        next: Option<Request>,
    ) -> Result<Inputs, ComputeError> {
        let request = Request { part: batch_part(work), samples: shard.samples };
        let batch = self.get(&request, next)?;
        Ok(Inputs { work: *work, batch, samples: request.samples, batch_samples: shard.batch_samples })
    }

    fn get(&mut self, request: &Request, next: Option<Request>) -> Result<Batch, ComputeError> {
        let batch = panics::catch(|| self.loader.get(request, next));
        let batch = batch.map_err(|panic| self.kinds.panicked(panic))?;
        batch.map_err(|source| ComputeError::Data { kind: self.kinds.data.clone(), source: Box::new(source) })
    }
}

/// The batch that some work is on.
fn batch_part(work: &Work) -> Part {
    Part { split: Split::Train, epoch: work.epoch, number: work.batch }
}
