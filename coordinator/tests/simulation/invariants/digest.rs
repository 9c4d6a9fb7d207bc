//! The weights equal those of a run without faults: after every outer step, in every checkpoint, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::{JobRecord, JobState};
use lookbehind_coordinator::training::Snapshot;

use super::Broken;
use crate::jobs::Expected;

type Jobs = BTreeMap<JobId, Rc<Expected>>;

/// Compares digests with those of the run without faults.
#[derive(Default)]
pub(crate) struct Digests {
    /// Jobs in which an owner has lied.
    deceived: BTreeSet<JobId>,
    pub(crate) broken: Broken,
}

impl Digests {
    /// See `Invariants::deceived`.
    pub(crate) fn deceived(&mut self, job: &JobId) {
        self.deceived.insert(job.clone());
    }

    /// An outer step is recorded.
    pub(crate) fn recorded(&mut self, jobs: &Jobs, job: &JobId, outer_step: u64, found: &str) {
        self.compare(jobs, job, outer_step, found);
    }

    /// A checkpoint is to be written.
    pub(crate) fn snapshot(&mut self, jobs: &Jobs, snapshot: &Snapshot) {
        self.durable(jobs, snapshot);
    }

    /// A checkpoint is written; returns the digest of its weights.
    pub(crate) fn durable(&mut self, jobs: &Jobs, snapshot: &Snapshot) -> Digest {
        let found = jobs[&snapshot.job].digest_of(&snapshot.state.weights);
        self.compare(jobs, &snapshot.job, snapshot.position.outer_step, &found.to_string());
        found
    }

    /// A record is about to be stored.
    pub(crate) fn stored(&mut self, jobs: &Jobs, record: &JobRecord) {
        let last = jobs[&record.id].digests.last();
        let is_right = record.state != JobState::Succeeded || record.digest.as_ref() == last;
        let right = is_right || self.deceived.contains(&record.id);
        self.broken.check(right, || {
            format!(
                "job {} succeeded with {:?}, without faults it comes to {last:?}",
                record.id, record.digest
            )
        });
    }

    fn compare(&mut self, jobs: &Jobs, job: &JobId, outer_step: u64, found: &str) {
        let right = jobs[job].digests.get(outer_step as usize).map(ToString::to_string);
        let is_deceived = self.deceived.contains(job);
        self.broken.check(is_deceived || right.as_deref() == Some(found), || {
            format!("job {job} after outer step {outer_step}: {found}, without faults {right:?}")
        });
    }
}
