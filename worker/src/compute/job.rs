//! A loaded job: from weights and samples to contributions.

use std::time::Duration;

use candle_core::Tensor;
use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::{Contribution, Sums};
use lookbehind_common::digest::Digest;
use lookbehind_common::job::{JobDescription, JobSpec};

use super::loader::{Loader, Part, Request};
use super::panics;
use super::sampler::{BatchShard, Sampler};
use super::{ComputeError, PreparedJob, Work, WorkKind};
use crate::data::{Batch, Split, Target};
use crate::models::{Mode, Model, Pass, PassPosition};
use crate::ops::cross_entropy::{CrossEntropy, of_logits, with_gradient};
use crate::parameters::{ModelState, StateError};

/// What a job is made of.
pub(super) struct Parts {
    pub(super) loader: Loader,
    pub(super) sampler: Sampler,
    pub(super) model: Box<dyn Model>,
    pub(super) state: ModelState,
}

/// A job that candle computes.
pub(super) struct CandleJob {
    seed: u64,
    model_kind: String,
    data_kind: String,
    parts: Parts,
    description: JobDescription,
    probe: Digest,
    loaded: bool,
}

impl CandleJob {
    /// Puts a job together and computes its probe, so that a model that cannot be evaluated on every shape of
    /// shard that the job has is refused before training.
    pub(super) fn new(spec: &JobSpec, parts: Parts) -> Result<Self, ComputeError> {
        let data = parts.loader.dataset().description();
        let description = JobDescription {
            layout: parts.state.layout().as_ref().clone(),
            train_samples: data.train_samples,
            test_samples: data.test_samples,
            data_fingerprint: data.fingerprint,
        };
        let mut job = Self {
            seed: spec.seed,
            model_kind: spec.model.kind.clone(),
            data_kind: spec.data.kind.clone(),
            parts,
            description,
            probe: Digest::of(b""),
            loaded: false,
        };
        job.probe = job.compute_probe()?;
        Ok(job)
    }

    fn compute_probe(&mut self) -> Result<Digest, ComputeError> {
        let (parameters, statistics) = self.parts.state.probe(self.seed);
        self.parts.state.load(&parameters, &statistics).map_err(|source| self.in_state(source))?;
        let mut hasher = blake3::Hasher::new();
        for (work, shard) in self.parts.sampler.shard_sizes() {
            let contribution = self.gradient(&work, shard)?;
            hasher.update(contribution.gradient.as_bytes());
            hasher.update(contribution.statistics.as_bytes());
            hasher.update(&contribution.sums.loss.to_le_bytes());
        }
        let samples = self.description.test_samples.min(self.parts.sampler.largest_shard());
        if samples > 0 {
            let part = Part { split: Split::Test, epoch: 0, number: 0 };
            let request = Request { part, samples: (0..samples).collect() };
            hasher.update(&self.test_samples(&request, None)?.loss.to_le_bytes());
        }
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    /// The gradient of (sum of the shard's losses) / (samples of the batch), with sums and statistics.
    fn gradient(&mut self, work: &Work, shard: u32) -> Result<Contribution, ComputeError> {
        let BatchShard { samples, batch_samples } = self.parts.sampler.batch_shard(work, shard)?;
        let part = |work: &Work| Part { split: Split::Train, epoch: work.epoch, number: work.batch };
        let following = self.parts.sampler.following(work);
        let next = self.parts.sampler.batch_shard(&following, shard).map(|next| next.samples);
        let next = Some(Request { part: part(&following), samples: next.unwrap_or_default() });
        let request = Request { part: part(work), samples };
        let batch = self.batch(&request, next)?;
        let samples = request.samples;
        let position = PassPosition { seed: self.seed, epoch: work.epoch, batch: work.batch };
        let pass = Pass::new(Mode::Train, position, &samples);
        let in_model = |source| self.in_model(samples.len(), source);
        let logits = self.logits(&batch, &pass)?;
        let CrossEntropy { sums, gradient } =
            of_logits(&logits, &batch.targets, batch.smoothing, batch_samples).map_err(in_model)?;
        let gradients =
            with_gradient(&logits, gradient).and_then(|loss| loss.backward()).map_err(in_model)?;
        let gradient = self.parts.state.gradients(&gradients).map_err(|source| self.in_state(source))?;
        let share = samples.len() as f32 / batch_samples as f32;
        let reported = pass.into_reported();
        let statistics =
            self.parts.state.statistics(&reported, share).map_err(|source| self.in_state(source))?;
        Ok(Contribution { gradient, statistics, sums })
    }

    /// Sums over a shard of the test split, in pieces as large as the largest shard in training, so that both need
    /// the same memory.
    fn test(&mut self, work: &Work, shard: u32) -> Result<Contribution, ComputeError> {
        let range = self.parts.sampler.test_shard(work, shard)?;
        let size = self.parts.sampler.largest_shard();
        let part = |number| Part { split: Split::Test, epoch: work.epoch, number };
        let piece =
            |start| Request { part: part(start), samples: (start..range.end.min(start + size)).collect() };
        let mut sums = Sums::default();
        let mut start = range.start;
        while start < range.end {
            let after = start + size;
            let next = (after < range.end).then(|| piece(after));
            sums.add(&self.test_samples(&piece(start), next)?);
            start = after;
        }
        Ok(Contribution { sums, ..Contribution::default() })
    }

    fn test_samples(&mut self, request: &Request, next: Option<Request>) -> Result<Sums, ComputeError> {
        let batch = self.batch(request, next)?;
        let samples = &request.samples;
        let position = PassPosition { seed: self.seed, epoch: request.part.epoch, batch: 0 };
        let logits = self.logits(&batch, &Pass::new(Mode::Test, position, samples))?;
        let losses = of_logits(&logits.detach(), &batch.targets, 0.0, 1);
        losses.map(|losses| losses.sums).map_err(|source| self.in_model(samples.len(), source))
    }

    fn batch(&mut self, request: &Request, next: Option<Request>) -> Result<Batch, ComputeError> {
        let batch = self.parts.loader.get(request, next);
        let kind = || self.data_kind.clone();
        let batch = batch.map_err(|source| ComputeError::Data { kind: kind(), source: Box::new(source) })?;
        let classes = self.parts.loader.dataset().description().classes;
        match batch.targets.iter().map(Target::greatest_class).find(|&class| class as usize >= classes) {
            None => Ok(batch),
            Some(found) => Err(ComputeError::Target { kind: kind(), found, classes }),
        }
    }

    /// The model's output, of the shape that the data set needs.
    fn logits(&self, batch: &Batch, pass: &Pass<'_>) -> Result<Tensor, ComputeError> {
        let samples = batch.targets.len();
        let logits =
            self.parts.model.forward(&batch.inputs, pass).map_err(|source| self.in_model(samples, source))?;
        let expected = [samples, self.parts.loader.dataset().description().classes];
        if logits.dims() == expected {
            return Ok(logits);
        }
        let problem = format!("logits of shape {:?}, expected {expected:?}", logits.dims());
        Err(self.in_model(samples, candle_core::Error::Msg(problem)))
    }

    fn in_model(&self, samples: usize, source: candle_core::Error) -> ComputeError {
        ComputeError::Model { kind: self.model_kind.clone(), samples, source }
    }

    fn in_state(&self, source: StateError) -> ComputeError {
        ComputeError::State { kind: self.model_kind.clone(), source: Box::new(source) }
    }
}

impl PreparedJob for CandleJob {
    fn description(&self) -> &JobDescription {
        &self.description
    }

    fn initial_state(&self) -> Result<(Arena, Arena), ComputeError> {
        Ok(self.parts.state.initial(self.seed))
    }

    fn probe(&mut self) -> Result<Digest, ComputeError> {
        Ok(self.probe)
    }

    fn load(&mut self, parameters: &[f32], statistics: &[f32]) -> Result<(), ComputeError> {
        self.loaded = false;
        self.parts.state.load(parameters, statistics).map_err(|source| self.in_state(source))?;
        self.loaded = true;
        Ok(())
    }

    fn waited_for_data(&self) -> Duration {
        self.parts.loader.waited()
    }

    fn contribution(&mut self, work: &Work, shard: u32) -> Result<Contribution, ComputeError> {
        if !self.loaded {
            return Err(ComputeError::NotLoaded);
        }
        let result = panics::catch(|| match work.kind {
            WorkKind::Gradient => self.gradient(work, shard),
            WorkKind::Test => self.test(work, shard),
        });
        result.unwrap_or_else(|panic| {
            let (model, data) = (self.model_kind.clone(), self.data_kind.clone());
            Err(ComputeError::Panicked { model, data, panic })
        })
    }
}

#[cfg(test)]
#[path = "job_test.rs"]
mod tests;
