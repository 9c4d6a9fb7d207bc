//! A job's samples, shard by shard: which ones a shard holds, and their values, prepared ahead.

use std::ops::Range;
use std::time::Duration;

use lookbehind_common::job::{JobDescription, JobSpec};
use lookbehind_common::layout::Layout;
use lookbehind_common::test_set::TestSet;

use super::batch::Batch;
use super::loader::{Loader, Part, SampleRequest, SampleSet};
use super::panics;
use super::sampler::{BatchShard, Sampler};
use super::{ComputeError, Request, RequestKind};
use crate::data::DataDescription;

/// A data set in the order in which a job uses it.
pub(super) struct Samples {
    pub(super) loader: Loader,
    pub(super) sampler: Sampler,
    /// Kinds of model and data set, for error messages.
    pub(super) kinds: Kinds,
}

/// A shard's samples, or some of the test split, ready to compute with.
pub(super) struct Inputs {
    pub(super) request: Request,
    pub(super) batch: Batch,
    /// The samples' numbers.
    pub(super) samples: Vec<u64>,
    /// Number of samples in the whole batch, by which the shard's gradient is divided.
    pub(super) batch_samples: u64,
}

/// The names of model and data set in errors.
#[derive(Clone)]
pub(super) struct Kinds {
    pub(super) model: String,
    pub(super) data: String,
}

impl Kinds {
    /// Those of a job.
    pub(super) fn of(spec: &JobSpec) -> Self {
        Self { model: spec.model.kind.clone(), data: spec.data.kind.clone() }
    }

    pub(super) fn panicked(&self, panic: panics::Panic) -> ComputeError {
        ComputeError::Panicked { model: self.model.clone(), data: self.data.clone(), panic }
    }
}

impl Samples {
    pub(super) fn description(&self) -> &DataDescription {
        self.loader.dataset().description()
    }

    /// Describes the data and a model of this layout; every worker must answer the same.
    pub(super) fn describe(&self, layout: &Layout) -> JobDescription {
        let data = self.description();
        let report = self.loader.dataset().report();
        let data_report = JobDescription::report_within_limit(report.lines());
        JobDescription {
            layout: layout.clone(),
            train_samples: data.train_samples,
            test_samples: data.test_samples,
            further_tests: self.loader.dataset().further_tests(),
            data_fingerprint: data.fingerprint,
            class_names: JobDescription::names_within_limit(report.class_names),
            data_report,
        }
    }

    /// A shard's samples; those of the same shard of the next batch are prepared in the meantime.
    pub(super) fn shard(&mut self, request: &Request, shard: u32) -> Result<Inputs, ComputeError> {
        let following = self.sampler.following(request);
        let next = match self.sampler.batch_shard(&following, shard) {
            Ok(next) => next.samples,
            // An epoch's last batch may have fewer shards; the samples of its existing shards stay wanted.
            Err(ComputeError::NoSuchShard { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let next = SampleRequest { part: batch_part(&following), samples: next };
        let shard = self.sampler.batch_shard(request, shard)?;
        self.inputs(request, shard, Some(next))
    }

    /// The training split's first samples, as a shard.
    pub(super) fn first(&mut self, samples: u64) -> Result<Inputs, ComputeError> {
        let request = Request { kind: RequestKind::Gradient, epoch: 0, batch: 0, shards: 1 };
        self.inputs(&request, BatchShard { samples: (0..samples).collect(), batch_samples: samples }, None)
    }

    /// Divides a shard of a test into pieces no larger than the largest shard in training, so that tests need
    /// no more memory than training.
    pub(super) fn test_pieces(
        &self,
        set: TestSet,
        request: &Request,
        shard: u32,
    ) -> Result<Vec<Range<u64>>, ComputeError> {
        let range = self.sampler.test_shard(set, request, shard)?;
        let size = self.sampler.largest_shard();
        let (mut pieces, mut start) = (Vec::new(), range.start);
        while start < range.end {
            let end = range.end.min(start + size);
            pieces.push(start..end);
            start = end;
        }
        Ok(pieces)
    }

    /// Some samples of a test; those that follow are prepared in the meantime.
    pub(super) fn test(
        &mut self,
        set: TestSet,
        epoch: u64,
        samples: Range<u64>,
        next: Option<Range<u64>>,
    ) -> Result<Inputs, ComputeError> {
        let wanted = |samples: Range<u64>| SampleRequest {
            part: Part { set: SampleSet::Tested(set), epoch, number: samples.start },
            samples: samples.collect(),
        };
        let (wanted, next) = (wanted(samples), next.map(wanted));
        let batch = self.get(&wanted, next)?;
        let request = Request { kind: RequestKind::Test(set), epoch, batch: 0, shards: 1 };
        let batch_samples = wanted.samples.len() as u64;
        Ok(Inputs { request, batch, samples: wanted.samples, batch_samples })
    }

    /// Samples of the test split for the probe.
    pub(super) fn test_probe(&self) -> Range<u64> {
        0..self.description().test_samples.min(self.sampler.largest_shard())
    }

    /// How long callers have waited for their samples, in total.
    pub(super) fn waited(&self) -> Duration {
        self.loader.waited()
    }

    fn inputs(
        &mut self,
        request: &Request,
        shard: BatchShard,
        next: Option<SampleRequest>,
    ) -> Result<Inputs, ComputeError> {
        let wanted = SampleRequest { part: batch_part(request), samples: shard.samples };
        let batch = self.get(&wanted, next)?;
        Ok(Inputs { request: *request, batch, samples: wanted.samples, batch_samples: shard.batch_samples })
    }

    fn get(&mut self, wanted: &SampleRequest, next: Option<SampleRequest>) -> Result<Batch, ComputeError> {
        let batch = panics::catch(|| self.loader.get(wanted, next));
        let batch = batch.map_err(|panic| self.kinds.panicked(panic))?;
        batch.map_err(|source| ComputeError::Data { kind: self.kinds.data.clone(), source: Box::new(source) })
    }
}

/// The batch that a request is about.
fn batch_part(request: &Request) -> Part {
    Part { set: SampleSet::Training, epoch: request.epoch, number: request.batch }
}
