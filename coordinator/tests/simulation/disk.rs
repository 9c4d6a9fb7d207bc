//! The disk: what survives the coordinator's process, job records and checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::{JobRecord, Stored, StoredJob};
use lookbehind_coordinator::training::Snapshot;

use crate::dice::Micros;

/// The durable state.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) records: BTreeMap<JobId, JobRecord>,
    /// Specifications of the jobs.
    pub(crate) specs: BTreeMap<JobId, Vec<u8>>,
    /// Jobs that were deleted.
    pub(crate) deleted: BTreeSet<JobId>,
    /// Checkpoints by job and number of outer steps.
    pub(crate) checkpoints: BTreeMap<JobId, BTreeMap<u64, Snapshot>>,
    /// The disk is slow until then.
    pub(crate) slow_until: Micros,
    /// The disk has no space for checkpoints until then.
    pub(crate) full_until: Micros,
    /// The coordinator crashes after this many more transitions.
    pub(crate) crash_in: Option<u64>,
}

impl Disk {
    /// Stores a checkpoint and removes those beyond the number to keep, but that of the best evaluation.
    pub(crate) fn store(&mut self, snapshot: Snapshot) {
        let checkpoints = self.checkpoints.entry(snapshot.job.clone()).or_default();
        let (keep, best) = (snapshot.keep as usize, snapshot.selection.best());
        checkpoints.insert(snapshot.position.outer_step, snapshot);
        let newest: BTreeSet<u64> = checkpoints.keys().rev().take(keep).copied().collect();
        let is_best = |step: u64| best.is_some_and(|best| best.outer_step == step);
        checkpoints.retain(|step, _| newest.contains(step) || is_best(*step));
    }

    /// What a start reads. As on a real disk, no specification of a job that has ended is among it.
    pub(crate) fn stored(&self) -> Stored {
        let job = |record: &JobRecord| {
            let spec = self.specs.get(&record.id).filter(|_| !record.state.is_terminal());
            StoredJob { record: record.clone(), spec: spec.cloned() }
        };
        Stored { jobs: self.records.values().map(job).collect(), ..Stored::default() }
    }

    /// Removes a job and all that belongs to it.
    pub(crate) fn delete(&mut self, job: &JobId) {
        self.records.remove(job);
        self.specs.remove(job);
        self.checkpoints.remove(job);
        self.deleted.insert(job.clone());
    }

    /// The newest checkpoint of a job.
    pub(crate) fn newest(&self, job: &JobId) -> Option<&Snapshot> {
        self.checkpoints.get(job)?.last_key_value().map(|(_, snapshot)| snapshot)
    }

    /// The states of all jobs, for messages.
    pub(crate) fn states(&self) -> String {
        let words = |record: &JobRecord| {
            format!(
                "{} {} ({}) checkpoint {:?}",
                record.id,
                record.state.name(),
                record.message,
                record.checkpoint
            )
        };
        self.records.values().map(words).collect::<Vec<_>>().join("; ")
    }

    /// Counts a transition: a moment before or after something becomes durable. True if the coordinator crashes at it.
    pub(crate) fn transition(&mut self) -> bool {
        match self.crash_in.as_mut() {
            Some(0) => {
                self.crash_in = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}
