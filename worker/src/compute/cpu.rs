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
use lookbehind_common::test_set::TestSet;
use lookbehind_kernels::interruptible;

use self::host::Host;
pub(super) use self::room::{Kept, Room};
use super::evaluator::Evaluator;
use super::probe::{ProbeRequests, probe_digest};
use super::samples::{Inputs, Samples};
use super::schedule::Schedule;
use super::{ComputeError, PreparedJob, Request, RequestKind, Rounding, Stopped, Watch, reduce_shards};

pub(super) struct Parts {
    pub(super) samples: Samples,
    pub(super) evaluator: Evaluator,
    /// Threads to compute with.
    pub(super) threads: usize,
    /// How the gradients of shards are rounded.
    pub(super) rounding: Rounding,
    /// Memory of the process.
    pub(super) room: Room,
}

pub(super) struct CpuJob {
    shards: Shards,
    rounding: Rounding,
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
    /// `watch` is asked meanwhile whether the job is still wanted.
    pub(super) fn new(parts: Parts, watch: &Arc<dyn Watch>) -> Result<Self, Stopped> {
        let Parts { samples, evaluator, threads, rounding, room } = parts;
        let description = samples.describe(evaluator.tensors.layout());
        let schedule = Schedule::new(threads).map_err(ComputeError::Threads)?;
        let mut shards = Shards { samples, evaluator, schedule };
        let probe = shards.probe(room, watch)?;
        Ok(Self { shards, rounding, description, probe, loaded: false })
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
        reduce_shards(segment, group, &self.rounding, watch.as_ref(), |asked| match request.kind {
            RequestKind::Gradient => self.shards.gradients(request, asked, watch),
            RequestKind::Test(set) => self.shards.tests(set, request, asked, watch),
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
        watch: &Arc<dyn Watch>,
    ) -> Result<Vec<Partial>, Stopped> {
        let Self { samples, evaluator, schedule } = self;
        let inputs = shards.map(|shard| samples.shard(request, shard)).collect::<Result<Vec<Inputs>, _>>()?;
        let one = |inputs| gradient(evaluator, inputs, watch).inspect(|_| watch.advance());
        schedule.run(inputs, one).into_iter().collect()
    }

    /// Sums over some shards of a test, as partials without a gradient.
    fn tests(
        &mut self,
        set: TestSet,
        request: &Request,
        shards: Range<u32>,
        watch: &Arc<dyn Watch>,
    ) -> Result<Vec<Partial>, Stopped> {
        let one = |shard| {
            let sums = self.test(set, request, shard, watch)?;
            Ok(Partial { sums, ..Partial::default() })
        };
        shards.map(one).collect()
    }

    /// Sums over a shard of a test, piece by piece, because it may be far larger than any shard of a batch.
    fn test(
        &mut self,
        set: TestSet,
        request: &Request,
        shard: u32,
        watch: &Arc<dyn Watch>,
    ) -> Result<Sums, Stopped> {
        let mut sums = Sums::default();
        let mut pieces = self.samples.test_pieces(set, request, shard)?.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            sums.add(&self.test_samples(set, request.epoch, piece, pieces.peek().cloned(), watch)?);
            watch.advance();
        }
        Ok(sums)
    }

    /// Sums over some samples of a test.
    fn test_samples(
        &mut self,
        set: TestSet,
        epoch: u64,
        samples: Range<u64>,
        next: Option<Range<u64>>,
        watch: &Arc<dyn Watch>,
    ) -> Result<Sums, Stopped> {
        let inputs = self.samples.test(set, epoch, samples, next)?;
        let Self { evaluator, schedule, .. } = self;
        schedule.run_one(|| while_wanted(watch, || evaluator.caught(|| evaluator.test(inputs, &mut Host))))
    }
}

fn gradient(evaluator: &Evaluator, inputs: Inputs, watch: &Arc<dyn Watch>) -> Result<Partial, Stopped> {
    while_wanted(watch, || evaluator.caught(|| evaluator.step(inputs, &mut Host)))
}

/// Computes something that ends early once it is superseded.
fn while_wanted<T>(
    watch: &Arc<dyn Watch>,
    compute: impl FnOnce() -> Result<T, ComputeError>,
) -> Result<T, Stopped> {
    let watch = Arc::clone(watch);
    let computed = interruptible(move || watch.is_superseded(), compute).ok_or(Stopped::Superseded)?;
    Ok(computed?)
}

#[cfg(test)]
mod tests;
