//! What survives the coordinator's process: job records and checkpoints.

use std::collections::BTreeMap;

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::JobRecord;
use lookbehind_coordinator::training::Snapshot;

use crate::dice::Micros;

/// The durable state.
#[derive(Default)]
pub(crate) struct Disk {
    /// Job records as they are stored.
    pub(crate) records: BTreeMap<JobId, JobRecord>,
    /// Checkpoints by job and outer steps.
    pub(crate) checkpoints: BTreeMap<JobId, BTreeMap<u64, Snapshot>>,
    /// Until when the disk is slow.
    pub(crate) slow_until: Micros,
    /// Until when it has no room for checkpoints.
    pub(crate) full_until: Micros,
    /// After so many more transitions the coordinator crashes.
    pub(crate) crash_in: Option<u64>,
}

impl Disk {
    /// Stores a checkpoint and forgets those that are not kept.
    pub(crate) fn store(&mut self, snapshot: Snapshot) {
        let checkpoints = self.checkpoints.entry(snapshot.job.clone()).or_default();
        let keep = snapshot.keep as usize;
        checkpoints.insert(snapshot.position.outer_step, snapshot);
        while checkpoints.len() > keep {
            checkpoints.pop_first();
        }
    }

    /// The newest checkpoint of a job.
    pub(crate) fn newest(&self, job: &JobId) -> Option<&Snapshot> {
        self.checkpoints.get(job)?.last_key_value().map(|(_, snapshot)| snapshot)
    }

    /// The jobs' states in words.
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

    /// Counts a transition of the store; true when the coordinator is to crash at it.
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
