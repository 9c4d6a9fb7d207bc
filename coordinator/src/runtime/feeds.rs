//! Wakes watchers of a job when there is something new to read of it.

use std::collections::HashMap;
use std::sync::Mutex;

use lookbehind_common::ids::JobId;
use tokio::sync::watch;

/// What a watcher is told: only that it should look again, and whether the journal was cut back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    changes: u64,
    /// Counts the times that the journal was cut back.
    pub(crate) cuts: u64,
    /// Whether more may still be written to the journal.
    pub(crate) writing: bool,
}

/// One channel per job that somebody watches or that runs.
#[derive(Debug, Default)]
pub(crate) struct Feeds(Mutex<HashMap<JobId, watch::Sender<Mark>>>);

impl Feeds {
    fn with<T>(&self, job: &JobId, act: impl FnOnce(&watch::Sender<Mark>) -> T) -> T {
        let mut feeds = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(feeds.entry(job.clone()).or_default())
    }

    /// Something was added.
    pub(crate) fn changed(&self, job: &JobId) {
        self.with(job, |feed| feed.send_modify(|mark| mark.changes += 1));
    }

    /// The journal was cut back, and will be written to.
    pub(crate) fn cut(&self, job: &JobId) {
        self.with(job, |feed| {
            feed.send_modify(|mark| {
                mark.cuts += 1;
                mark.writing = true;
            });
        });
    }

    /// The journal is complete for now.
    pub(crate) fn closed(&self, job: &JobId) {
        self.with(job, |feed| feed.send_modify(|mark| mark.writing = false));
    }

    pub(crate) fn subscribe(&self, job: &JobId) -> watch::Receiver<Mark> {
        self.with(job, watch::Sender::subscribe)
    }
}
