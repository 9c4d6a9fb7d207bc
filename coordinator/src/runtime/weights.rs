//! The weights that are served to workers: one version per job, encoded once because an arena's bytes are what
//! goes over the wire.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use lookbehind_common::arena::shared_bytes;
use lookbehind_common::ids::JobId;

use crate::state::command::Weights;

/// One version of a job's weights.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) version: u64,
    pub(crate) weights: Weights,
}

impl Published {
    /// Parameters, then statistics, as they are sent.
    pub(crate) fn parts(&self) -> [Bytes; 2] {
        [shared_bytes(&self.weights.parameters), shared_bytes(&self.weights.statistics)]
    }
}

/// The newest version of each running job.
#[derive(Debug, Default)]
pub(crate) struct WeightsTable(Mutex<HashMap<JobId, Published>>);

impl WeightsTable {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Published>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, job: JobId, version: u64, weights: Weights) {
        self.table().insert(job, Published { version, weights });
    }

    pub(crate) fn unpublish(&self, job: &JobId) {
        self.table().remove(job);
    }

    /// The weights, if that version is the newest.
    pub(crate) fn get(&self, job: &JobId, version: u64) -> Option<Published> {
        self.table().get(job).filter(|published| published.version == version).cloned()
    }
}
