//! The probe of a job on the CPU, and how many shards fit into memory at once, which is measured before it.

use std::sync::{Arc, Mutex, PoisonError};

use lookbehind_common::digest::Digest;
use lookbehind_common::test_set::TestSet;

use super::{ComputeError, ProbeRequests, Schedule, Shards, gradient, probe_digest};
use crate::compute::{Stopped, Watch};
use crate::memory;

/// Numbers of samples of the two shards by which memory is measured.
const MEASURED: [u64; 2] = [2, 6];

/// Held by the one worker of a process that measures memory: what the others allocate meanwhile would be counted as
/// well.
static ALONE: Mutex<()> = Mutex::new(());

/// The memory of the process.
#[derive(Clone, Copy)]
pub(in crate::compute) struct Room {
    /// What is kept from one shard to the next.
    pub(in crate::compute) kept: Kept,
    /// Bytes of weights and partials that go over the network meanwhile.
    pub(in crate::compute) transfers: u64,
    /// Most bytes that may be in use.
    pub(in crate::compute) limit: u64,
}

/// Bytes that are kept from one shard to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compute) enum Kept {
    /// Of partials that wait to be added.
    Partials(u64),
    /// Of visits: partials that wait, and the weights on the paths of shards.
    Visits(u64),
}

impl Kept {
    fn bytes(self) -> u64 {
        match self {
            Self::Partials(bytes) | Self::Visits(bytes) => bytes,
        }
    }
}

impl Shards {
    /// The digest of the partials at keyed probe weights, which the model holds afterwards. Later shards may be
    /// computed in parallel if enough of them fit into the room.
    pub(super) fn probe(&mut self, room: Room, watch: &Arc<dyn Watch>) -> Result<Digest, Stopped> {
        let weights = self.evaluator.tensors.probe(self.evaluator.seed);
        self.load(weights.values())?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let at_once = self.shards_that_fit(room, watch)?;
        let probe = self.compute_probe(watch)?;
        drop(alone);
        self.schedule.allow_side_by_side(at_once).map_err(ComputeError::Threads)?;
        Ok(probe)
    }

    fn compute_probe(&mut self, watch: &Arc<dyn Watch>) -> Result<Digest, Stopped> {
        let ProbeRequests { shards, test } = ProbeRequests::new(&self.samples);
        let mut partials = Vec::new();
        for (request, shard) in shards {
            partials.extend(self.gradients(&request, shard..shard + 1, watch)?);
        }
        let test =
            test.map(|samples| self.test_samples(TestSet::Test, 0, samples, None, watch)).transpose()?;
        Ok(probe_digest(&partials, test.as_ref()))
    }

    /// How many shards fit into memory at once, from the activation memory that the model's layers announce and from
    /// the measured memory of small shards: everything that a shard takes grows with its samples. If the allocator is
    /// not metered, nothing is measured.
    fn shards_that_fit(&mut self, room: Room, watch: &Arc<dyn Watch>) -> Result<u64, Stopped> {
        let samples = self.samples.sampler.largest_shard();
        let loaded = memory::in_use();
        // Checked before anything is measured: two samples may already take more memory than there is.
        let sample = self.evaluator.model.elements_per_sample().saturating_mul(size_of::<f32>() as u64);
        self.check_room(sample.saturating_mul(samples), loaded, room)?;
        if loaded == 0 {
            return Ok(u64::MAX);
        }
        let [few, more] = MEASURED.map(|measured| measured.min(samples));
        // On one thread, so that all of it is counted.
        let one_thread = Schedule::new(1).map_err(ComputeError::Threads)?;
        let mut needed = 0;
        let mut measured = Vec::new();
        // The smaller size is measured twice: the first run allocates what stays allocated, and must not count.
        for size in [few, few, more] {
            // Errors of model or data are left to the probe, which reports them for the job's own shards.
            match self.peak(&one_thread, size, watch) {
                Ok(peak) => measured.push(peak),
                Err(Stopped::Superseded) => return Err(Stopped::Superseded),
                Err(Stopped::Failed(_)) => return Ok(1),
            }
            needed = extrapolated(&measured, [few, more], samples);
            self.check_room(needed, loaded, room)?;
        }
        // If a shard takes no memory, any number of them fits.
        let taken = loaded.saturating_add(room.transfers).saturating_add(room.kept.bytes());
        let left = room.limit.saturating_sub(taken);
        Ok(left.checked_div(needed).unwrap_or(u64::MAX))
    }

    /// Refuses the job if its largest shard, with what is kept meanwhile and what transfers take, takes more memory than
    /// what is loaded leaves free.
    fn check_room(&self, needed: u64, loaded: u64, room: Room) -> Result<(), ComputeError> {
        let Room { kept, transfers, limit } = room;
        let needed = needed.saturating_add(kept.bytes());
        if needed.saturating_add(transfers) <= limit.saturating_sub(loaded) {
            return Ok(());
        }
        let (kind, samples) = (self.evaluator.kinds.model.clone(), self.samples.sampler.largest_shard());
        let [needed, transfers, loaded, limit] = [needed, transfers, loaded, limit].map(|bytes| bytes >> 20);
        Err(match kept {
            Kept::Partials(_) => ComputeError::Memory { kind, samples, needed, transfers, loaded, limit },
            Kept::Visits(_) => ComputeError::VisitMemory { kind, samples, needed, transfers, loaded, limit },
        })
    }

    /// Bytes that a shard of the first samples of the training split takes.
    fn peak(&mut self, one_thread: &Schedule, samples: u64, watch: &Arc<dyn Watch>) -> Result<u64, Stopped> {
        let inputs = self.samples.first(samples)?;
        let (gradient, peak) =
            one_thread.run_one(|| memory::peak_of(|| gradient(&self.evaluator, inputs, watch)));
        gradient.map(|_| peak)
    }
}

/// Bytes that a shard of `samples` samples takes, extrapolated from the shards of `few`, `few` and `more` samples
/// measured so far: at least the largest measurement, and for each further sample the difference per sample between
/// `few` and `more`.
fn extrapolated(measured: &[u64], [few, more]: [u64; 2], samples: u64) -> u64 {
    match *measured {
        [_, of_few, of_more] if few < more => {
            let each = of_more.saturating_sub(of_few) / (more - few);
            of_more + each * (samples - more)
        }
        // Either the largest shard is no larger than those measured, or not all sizes are measured yet.
        [.., newest] => newest,
        [] => 0,
    }
}

#[cfg(test)]
mod tests;
