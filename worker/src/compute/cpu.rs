//! A job on the CPU: shards one after the other or in parallel, whichever is faster on this machine.

mod host;
mod room;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::JobDescription;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::Segment;

use self::host::Host;
use super::evaluator::Evaluator;
use super::probe::{ProbeRequests, probe_digest};
use super::samples::{Inputs, Samples};
use super::schedule::Schedule;
use super::{ComputeError, PreparedJob, Request, RequestKind, Stopped, Watch, reduce_shards};

pub(super) struct Parts {
    pub(super) samples: Samples,
    pub(super) evaluator: Evaluator,
    /// Threads to compute with.
    pub(super) threads: usize,
    /// Most bytes that the process may have in use.
    pub(super) memory_limit: u64,
}

pub(super) struct CpuJob {
    shards: Shards,
    description: JobDescription,
    probe: Digest,
    /// Whether the model holds weights of the job: not those of the probe, and not partly overwritten ones.
    loaded: bool,
}

/// Computes shards at the weights that the model holds.
struct Shards {
    samples: Samples,
    evaluator: Evaluator,
    schedule: Schedule,
}

impl CpuJob {
    /// Assembles a job and computes its probe, so that a model that cannot be computed on every shard size of the job,
    /// or takes more memory than there is, is refused before training.
    pub(super) fn new(parts: Parts) -> Result<Self, ComputeError> {
        let Parts { samples, evaluator, threads, memory_limit } = parts;
        let description = samples.describe(evaluator.tensors.layout());
        let schedule = Schedule::new(threads).map_err(ComputeError::Threads)?;
        let mut shards = Shards { samples, evaluator, schedule };
        let probe = shards.probe(memory_limit)?;
        Ok(Self { shards, description, probe, loaded: false })
    }
}

impl PreparedJob for CpuJob {
    fn description(&self) -> &JobDescription {
        &self.description
    }

    fn initial_state(&self) -> Result<ModelState<FlatBuffer>, ComputeError> {
        let evaluator = &self.shards.evaluator;
        Ok(evaluator.tensors.initial(evaluator.seed))
    }

    fn probe(&self) -> Digest {
        self.probe
    }

    fn load(&mut self, weights: ModelState<&[f32]>) -> Result<(), ComputeError> {
        self.loaded = false;
        self.shards.load(weights)?;
        self.loaded = true;
        Ok(())
    }

    fn segment(
        &mut self,
        request: &Request,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        if !self.loaded {
            return Err(ComputeError::NotLoaded.into());
        }
        let group = self.shards.schedule.group();
        reduce_shards(segment, group, watch.as_ref(), |asked| {
            let partials = match request.kind {
                RequestKind::Gradient => self.shards.gradients(request, asked, watch.as_ref()),
                RequestKind::Test => self.shards.tests(request, asked, watch.as_ref()),
            };
            Ok(partials?)
        })
    }

    fn waited_for_data(&self) -> Duration {
        self.shards.samples.waited()
    }
}

impl Shards {
    /// Overwrites the model's weights, with as many threads as shards are computed with.
    fn load(&mut self, weights: ModelState<&[f32]>) -> Result<(), ComputeError> {
        let Self { evaluator, schedule, .. } = self;
        let loaded = schedule.run_one(|| evaluator.tensors.load(weights));
        loaded.map_err(|source| evaluator.in_state(source))
    }

    /// The partials of some shards, in the order of the shards.
    fn gradients(
        &mut self,
        request: &Request,
        shards: Range<u32>,
        watch: &dyn Watch,
    ) -> Result<Vec<Partial>, ComputeError> {
        let Self { samples, evaluator, schedule } = self;
        let inputs = shards.map(|shard| samples.shard(request, shard)).collect::<Result<Vec<Inputs>, _>>()?;
        let one = |inputs| gradient(evaluator, inputs).inspect(|_| watch.advance());
        schedule.run(inputs, one).into_iter().collect()
    }

    /// Sums over some shards of the test split, as partials without a gradient.
    fn tests(
        &mut self,
        request: &Request,
        shards: Range<u32>,
        watch: &dyn Watch,
    ) -> Result<Vec<Partial>, ComputeError> {
        let one = |shard| {
            let sums = self.test(request, shard, watch)?;
            Ok(Partial { sums, ..Partial::default() })
        };
        shards.map(one).collect()
    }

    /// Sums over a shard of the test split, piece by piece, because it may be far larger than any shard of a batch.
    fn test(&mut self, request: &Request, shard: u32, watch: &dyn Watch) -> Result<Sums, ComputeError> {
        let mut sums = Sums::default();
        let mut pieces = self.samples.test_pieces(request, shard)?.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            sums.add(&self.test_samples(request.epoch, piece, pieces.peek().cloned())?);
            watch.advance();
        }
        Ok(sums)
    }

    /// Sums over some samples of the test split.
    fn test_samples(
        &mut self,
        epoch: u64,
        samples: Range<u64>,
        next: Option<Range<u64>>,
    ) -> Result<Sums, ComputeError> {
        let inputs = self.samples.test(epoch, samples, next)?;
        let Self { evaluator, schedule, .. } = self;
        schedule.run_one(|| evaluator.caught(|| evaluator.test(inputs, &mut Host)))
    }
}

fn gradient(evaluator: &Evaluator, inputs: Inputs) -> Result<Partial, ComputeError> {
    evaluator.caught(|| evaluator.step(inputs, &mut Host))
}

#[cfg(test)]
mod tests;
