//! Weights that workers may have by blocks are not published again: they would be sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::ids::JobId;

use super::Broken;

/// Watches what is published.
#[derive(Default)]
pub(crate) struct Once {
    pub(crate) broken: Broken,
    /// Digests of the blocks of the newest version of each job; empty if it is served as a whole.
    newest: BTreeMap<JobId, Arc<[BlockDigest]>>,
}

impl Once {
    /// A version is published.
    pub(crate) fn published(&mut self, job: &JobId, version: u64, digests: &Arc<[BlockDigest]>) {
        let earlier = self.newest.insert(job.clone(), Arc::clone(digests));
        // The first version of an activation.
        if version > 1 && !digests.is_empty() {
            self.broken.check(earlier.as_ref() != Some(digests), || {
                format!("job {job}: version {version} is the one before it")
            });
        }
    }
}
