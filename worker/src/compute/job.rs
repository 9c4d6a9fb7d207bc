//! A job on the CPU: from weights and samples to contributions.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::{Contribution, Sums};
use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobDescription;

use super::evaluator::{Evaluator, Inputs};
use super::samples::Samples;
use super::schedule::Schedule;
use super::{ComputeError, PreparedJob, Work, WorkKind};
use crate::memory;

/// Samples of the two shards by which memory is measured.
const MEASURED: [u64; 2] = [2, 6];

/// Held by the one of a process's workers that measures memory: what the others took meanwhile would count as well.
static ALONE: Mutex<()> = Mutex::new(());

/// What a job is made of.
pub(super) struct Parts {
    pub(super) samples: Samples,
    pub(super) evaluator: Evaluator,
    /// Threads to compute with.
    pub(super) threads: usize,
    /// Most bytes that the process may have in use.
    pub(super) memory_limit: u64,
}

/// A job that candle computes.
pub(super) struct CandleJob {
    samples: Samples,
    evaluator: Evaluator,
    schedule: Schedule,
    description: JobDescription,
    probe: Digest,
    loaded: bool,
}

impl CandleJob {
    /// Puts a job together and computes its probe, so that a model that cannot be evaluated on every shape of
    /// shard that the job has, or takes more memory than there is, is refused before training.
    pub(super) fn new(parts: Parts) -> Result<Self, ComputeError> {
        let Parts { samples, evaluator, threads, memory_limit } = parts;
        let description = describe(&samples, &evaluator);
        let schedule = Schedule::new(threads).map_err(ComputeError::Threads)?;
        let probe = Digest::of(b"");
        let mut job = Self { samples, evaluator, schedule, description, probe, loaded: false };
        let (parameters, statistics) = job.evaluator.state.probe(job.evaluator.seed);
        job.load(&parameters, &statistics)?;
        let at_once = {
            let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            let at_once = job.shards_that_fit(memory_limit)?;
            job.probe = job.compute_probe()?;
            at_once
        };
        job.schedule.allow_side_by_side(at_once).map_err(ComputeError::Threads)?;
        job.loaded = false;
        Ok(job)
    }

    /// How many shards fit into memory at once, by what the model's layers give, and by what small shards take: all that
    /// a shard takes grows with its samples. Where the allocator is not metered, the latter is not known.
    fn shards_that_fit(&mut self, limit: u64) -> Result<usize, ComputeError> {
        let samples = self.samples.sampler.largest_shard();
        let loaded = memory::in_use();
        // Two samples may already be more than there is room for.
        let sample = self.evaluator.model.numbers_per_sample().saturating_mul(size_of::<f32>() as u64);
        self.check_room(sample.saturating_mul(samples), loaded, limit)?;
        if loaded == 0 {
            return Ok(usize::MAX);
        }
        let [few, more] = MEASURED.map(|measured| measured.min(samples));
        // On one thread, so that all of it is counted.
        let mut alone = Schedule::new(1).map_err(ComputeError::Threads)?;
        // What stays from the first time on is there before anything is measured. What is wrong with model or data is
        // said by the probe, about the job's own shards.
        let mut needed = 0;
        let mut measured = Vec::new();
        for size in [few, few, more] {
            let Ok(peak) = self.peak(&mut alone, size) else { return Ok(1) };
            measured.push(peak);
            needed = extrapolated(&measured, [few, more], samples);
            self.check_room(needed, loaded, limit)?;
        }
        let at_once = limit.saturating_sub(loaded).checked_div(needed).unwrap_or(u64::MAX);
        Ok(usize::try_from(at_once).unwrap_or(usize::MAX))
    }

    /// Refuses the largest shard where it takes more than there is beside what is loaded.
    fn check_room(&self, needed: u64, loaded: u64, limit: u64) -> Result<(), ComputeError> {
        if needed <= limit.saturating_sub(loaded) {
            return Ok(());
        }
        let (kind, samples) = (self.evaluator.kinds.model.clone(), self.samples.sampler.largest_shard());
        let [needed, loaded, limit] = [needed, loaded, limit].map(|bytes| bytes >> 20);
        Err(ComputeError::Memory { kind, samples, needed, loaded, limit })
    }

    /// Bytes that a shard of the training split's first samples takes.
    fn peak(&mut self, alone: &mut Schedule, samples: u64) -> Result<u64, ComputeError> {
        let inputs = self.samples.first(samples)?;
        let measured = alone.run(vec![inputs], |inputs| memory::peak_of(|| self.evaluator.gradient(inputs)));
        measured.into_iter().try_fold(0, |_, (result, peak)| result.map(|_| peak))
    }

    fn compute_probe(&mut self) -> Result<Digest, ComputeError> {
        let sizes = self.samples.sampler.shard_sizes();
        let contributions = sizes.iter().map(|(work, shard)| self.contribution(work, *shard));
        let contributions = contributions.collect::<Result<Vec<_>, _>>()?;
        let samples = self.samples.test_probe();
        let test = if samples.is_empty() { None } else { Some(self.test_samples(0, samples, None)?) };
        Ok(probe_digest(&contributions, test.as_ref()))
    }

    /// Sums over a shard of the test split; each piece tells that the work advances.
    fn test(
        &mut self,
        work: &Work,
        shard: u32,
        computed: &(dyn Fn() + Sync),
    ) -> Result<Contribution, ComputeError> {
        let mut sums = Sums::default();
        let mut pieces = self.samples.test_pieces(work, shard)?.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            sums.add(&self.test_samples(work.epoch, piece, pieces.peek().cloned())?);
            computed();
        }
        Ok(Contribution { sums, ..Contribution::default() })
    }

    /// Sums over some samples of the test split.
    fn test_samples(
        &mut self,
        epoch: u64,
        samples: Range<u64>,
        next: Option<Range<u64>>,
    ) -> Result<Sums, ComputeError> {
        let inputs = self.samples.test(epoch, samples, next)?;
        let results = self.schedule.run(vec![inputs], |inputs| self.evaluator.test(inputs));
        results.into_iter().next().unwrap_or_else(|| Ok(Sums::default()))
    }
}

/// What model and data are.
pub(super) fn describe(samples: &Samples, evaluator: &Evaluator) -> JobDescription {
    let data = samples.description();
    JobDescription {
        layout: evaluator.state.layout().as_ref().clone(),
        train_samples: data.train_samples,
        test_samples: data.test_samples,
        data_fingerprint: data.fingerprint,
    }
}

/// Digest of contributions at probe weights, and of the loss of some samples of the test split.
pub(super) fn probe_digest(contributions: &[Contribution], test: Option<&Sums>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for contribution in contributions {
        hasher.update(contribution.gradient.as_bytes());
        hasher.update(contribution.statistics.as_bytes());
        hasher.update(&contribution.sums.loss.to_le_bytes());
    }
    if let Some(test) = test {
        hasher.update(&test.loss.to_le_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Bytes that a shard of `samples` samples takes, by what shards of `few`, `few` and `more` samples took so far: at least
/// what the largest of them did, and as much more for each further sample as between `few` and `more`.
fn extrapolated(measured: &[u64], [few, more]: [u64; 2], samples: u64) -> u64 {
    match *measured {
        [_, of_few, of_more] => {
            let each = of_more.saturating_sub(of_few).checked_div(more - few).unwrap_or(0);
            of_more + each * (samples - more)
        }
        _ => measured.last().copied().unwrap_or(0),
    }
}

impl PreparedJob for CandleJob {
    fn description(&self) -> &JobDescription {
        &self.description
    }

    fn initial_state(&self) -> Result<(Arena, Arena), ComputeError> {
        Ok(self.evaluator.state.initial(self.evaluator.seed))
    }

    fn probe(&mut self) -> Result<Digest, ComputeError> {
        Ok(self.probe)
    }

    fn load(&mut self, parameters: &[f32], statistics: &[f32]) -> Result<(), ComputeError> {
        self.loaded = false;
        let load = |(parameters, statistics)| self.evaluator.state.load(parameters, statistics);
        for loaded in self.schedule.run(vec![(parameters, statistics)], load) {
            loaded.map_err(|source| self.evaluator.in_state(source))?;
        }
        self.loaded = true;
        Ok(())
    }

    fn waited_for_data(&self) -> Duration {
        self.samples.waited()
    }

    fn contribution(&mut self, work: &Work, shard: u32) -> Result<Contribution, ComputeError> {
        let mut one = self.contributions(work, shard..shard + 1, &|| ())?;
        Ok(one.pop().unwrap_or_default())
    }

    fn group(&self) -> u32 {
        u32::try_from(self.schedule.group()).unwrap_or(u32::MAX)
    }

    fn contributions(
        &mut self,
        work: &Work,
        shards: Range<u32>,
        computed: &(dyn Fn() + Sync),
    ) -> Result<Vec<Contribution>, ComputeError> {
        if !self.loaded {
            return Err(ComputeError::NotLoaded);
        }
        if work.kind == WorkKind::Test {
            return shards.map(|shard| self.test(work, shard, computed)).collect();
        }
        let inputs: Vec<Inputs> =
            shards.map(|shard| self.samples.shard(work, shard)).collect::<Result<_, _>>()?;
        let one = |inputs| self.evaluator.gradient(inputs).inspect(|_| computed());
        self.schedule.run(inputs, one).into_iter().collect()
    }
}

#[cfg(test)]
#[path = "job_test.rs"]
mod tests;
