//! Changes that wait to be stored. While the disk fails they are gathered by job, so that what waits depends on the number
//! of jobs and not on how long the failure lasts.

use std::collections::{BTreeMap, HashMap};

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;

use crate::state::{JobChange, UploadRecord};

/// Notices of a job that wait to be stored; older ones are dropped.
const NOTICES: usize = 64;

/// One durable change.
#[derive(Debug)]
pub(super) enum Change {
    Job(Box<JobChange>),
    Delete(JobId),
    KeepUpload(Option<u64>, UploadRecord),
    DropUpload(Digest),
}

/// The changes in the order in which they are to be stored.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    changes: BTreeMap<u64, Change>,
    added: u64,
    /// The waiting change of each job.
    jobs: HashMap<JobId, u64>,
}

impl Backlog {
    /// Adds a change. A change of a job that has one already is merged with it: no other change depends on their order.
    pub(super) fn push(&mut self, change: Change) {
        let change = match change {
            Change::Job(change) => match self.earlier(&change.record.id) {
                Some(earlier) => return merge(earlier, *change),
                None => Change::Job(change),
            },
            other => other,
        };
        self.added += 1;
        match &change {
            Change::Job(change) => {
                self.jobs.insert(change.record.id.clone(), self.added);
            }
            Change::Delete(job) => {
                self.jobs.remove(job);
            }
            Change::KeepUpload(..) | Change::DropUpload(_) => {}
        }
        self.changes.insert(self.added, change);
    }

    fn earlier(&mut self, job: &JobId) -> Option<&mut JobChange> {
        match self.changes.get_mut(self.jobs.get(job)?)? {
            Change::Job(change) => Some(change),
            _ => None,
        }
    }

    /// The change to store next.
    pub(super) fn first(&self) -> Option<&Change> {
        self.changes.first_key_value().map(|(_, change)| change)
    }

    /// Removes the change that [`Self::first`] returns.
    pub(super) fn pop(&mut self) -> Option<Change> {
        let (number, change) = self.changes.pop_first()?;
        if let Change::Job(change) = &change
            && self.jobs.get(&change.record.id) == Some(&number)
        {
            self.jobs.remove(&change.record.id);
        }
        Some(change)
    }
}

fn merge(earlier: &mut JobChange, change: JobChange) {
    earlier.record = change.record;
    earlier.spec = earlier.spec.take().or(change.spec);
    earlier.notices.extend(change.notices);
    let excess = earlier.notices.len().saturating_sub(NOTICES);
    earlier.notices.drain(..excess);
}

#[cfg(test)]
mod tests;
