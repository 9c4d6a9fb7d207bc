//! Retention: jobs that have ended are deleted when there are too many of them, the oldest first.

use std::time::Duration;

use lookbehind_common::ids::JobId;

use super::Core;
use super::command::Command;
use super::observation::Observation;

/// Jobs that are deleted at one tick: each is a transaction of its own, and other changes must not wait long.
const AT_ONCE: usize = 8;

/// What is kept of the jobs that have ended; without a limit, everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long a job is kept after its end.
    pub time: Option<Duration>,
    /// Number of jobs.
    pub jobs: Option<u64>,
    /// Size in bytes of the files of all of them together.
    pub bytes: Option<u64>,
}

/// A limit of retention that is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("it ended longer ago than jobs are kept")]
    Time,
    #[error("more jobs have ended than are kept")]
    Jobs,
    #[error("the files of jobs that have ended take more room than is kept for them")]
    Bytes,
}

impl Core {
    /// Deletes jobs that have ended beyond what is kept of them.
    pub(super) fn delete_beyond_retention(&mut self) {
        for _ in 0..AT_ONCE {
            let excess = self.catalog.beyond(&self.cluster.config.retention, self.cluster.now.unix);
            let Some((id, excess)) = excess else { return };
            tracing::info!(job = %id, reason = %excess, "job deleted");
            self.remove_ended(&id);
        }
    }

    /// Removes a job that has ended, with its files. Returns whether there was one.
    pub(super) fn remove_ended(&mut self, id: &JobId) -> bool {
        let Some(record) = self.catalog.remove(id) else { return false };
        self.cluster.push(Command::Delete(id.clone()));
        self.cluster.observe(Observation::JobDeleted(id.clone(), record.state));
        self.release_upload(record.init, &record.owner);
        true
    }

    /// Has the files of a job measured that has ended, if their size counts.
    pub(super) fn measure(&mut self, id: JobId) {
        if self.cluster.config.retention.bytes.is_some() {
            self.cluster.push(Command::Measure(id));
        }
    }
}

#[cfg(test)]
mod tests;
