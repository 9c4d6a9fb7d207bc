//! What was acknowledged to a user survives crashes, and a record never names a checkpoint that is not durable yet.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::JobRecord;

use super::Broken;
use crate::disk::Disk;

/// The revision of each job that was last acknowledged to its user.
#[derive(Default)]
pub(crate) struct Acknowledged {
    acknowledged: BTreeMap<JobId, u64>,
    pub(crate) broken: Broken,
}

impl Acknowledged {
    /// A user was sent a record.
    pub(crate) fn answered(&mut self, disk: &Disk, record: &JobRecord) {
        let stored = disk.records.get(&record.id).map(|stored| stored.revision);
        self.broken.check(stored >= Some(record.revision), || {
            format!(
                "job {}: revision {} was acknowledged to its user, stored is {stored:?}",
                record.id, record.revision
            )
        });
        self.acknowledged.insert(record.id.clone(), record.revision);
    }

    /// The coordinator starts with what is stored.
    pub(crate) fn started(&mut self, disk: &Disk) {
        for (job, revision) in self.acknowledged.iter().filter(|(job, _)| !disk.deleted.contains(*job)) {
            let stored = disk.records.get(job).map(|record| record.revision);
            self.broken.check(stored >= Some(*revision), || {
                format!("job {job}: revision {revision} was acknowledged, {stored:?} survived")
            });
        }
        self.once(disk);
    }

    /// Checks that every creation, with all its retries, has made one job.
    pub(crate) fn once(&mut self, disk: &Disk) {
        let requests: BTreeSet<&str> =
            disk.records.values().map(|record| record.request_id.as_str()).collect();
        let (jobs, wanted) = (disk.records.len(), requests.len());
        self.broken.check(jobs == wanted, || format!("{wanted} requests made {jobs} jobs"));
    }

    /// A record is about to be stored.
    pub(crate) fn stored(&mut self, disk: &Disk, record: &JobRecord) {
        let durable = disk.newest(&record.id).map(|snapshot| snapshot.position.outer_step);
        self.broken.check(record.checkpoint <= durable, || {
            format!(
                "job {}: its record names checkpoint {:?}, the newest durable one is {durable:?}",
                record.id, record.checkpoint
            )
        });
        let before = disk.records.get(&record.id).map(|stored| stored.revision);
        self.broken.check(before < Some(record.revision), || {
            format!("job {}: revision {} is stored after {before:?}", record.id, record.revision)
        });
    }
}
