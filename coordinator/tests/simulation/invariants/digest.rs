//! Weights are what the run without faults has: at every outer step, in every checkpoint, and at the end.

use std::collections::BTreeMap;
use std::rc::Rc;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::command::Weights;
use lookbehind_coordinator::state::{JobRecord, JobState};
use lookbehind_coordinator::training::Snapshot;

use super::Broken;
use crate::jobs::Expected;

type Jobs = BTreeMap<JobId, Rc<Expected>>;

/// Compares digests.
#[derive(Default)]
pub(crate) struct Digests {
    pub(crate) broken: Broken,
}

impl Digests {
    /// An outer step is recorded.
    pub(crate) fn recorded(&mut self, jobs: &Jobs, job: &JobId, outer_step: u64, weights: &Weights) {
        self.compare(jobs, job, outer_step, weights);
    }

    /// A checkpoint is to be written.
    pub(crate) fn snapshot(&mut self, jobs: &Jobs, snapshot: &Snapshot) {
        self.durable(jobs, snapshot);
    }

    /// A checkpoint is written; returns the digest of its weights.
    pub(crate) fn durable(&mut self, jobs: &Jobs, snapshot: &Snapshot) -> Digest {
        let weights = Weights {
            parameters: snapshot.state.parameters.clone(),
            statistics: snapshot.state.statistics.clone(),
        };
        self.compare(jobs, &snapshot.job, snapshot.position.outer_step, &weights)
    }

    /// A record is about to be stored.
    pub(crate) fn stored(&mut self, jobs: &Jobs, record: &JobRecord) {
        let last = jobs[&record.id].digests.last();
        let right = record.state != JobState::Succeeded || record.digest.as_ref() == last;
        self.broken.check(right, || {
            format!(
                "job {} succeeded with {:?}, without faults it comes to {last:?}",
                record.id, record.digest
            )
        });
    }

    fn compare(&mut self, jobs: &Jobs, job: &JobId, outer_step: u64, weights: &Weights) -> Digest {
        let expected = &jobs[job];
        let found = expected.digest_of(weights);
        let right = expected.digests.get(outer_step as usize);
        self.broken.check(right == Some(&found), || {
            format!("job {job} after outer step {outer_step}: {found}, without faults {right:?}")
        });
        found
    }
}
