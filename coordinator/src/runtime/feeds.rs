//! Wakes the watchers of a job when there is something new to read.

use std::collections::HashMap;
use std::sync::Mutex;

use lookbehind_common::ids::JobId;
use tokio::sync::watch;

/// What a watcher receives: that something changed, and whether the journal was cut back. The data itself it reads
/// from the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    changes: u64,
    /// How often the journal was cut back; a reader starts again when it rises.
    pub(crate) cuts: u64,
    /// Whether the journal is open for writing.
    pub(crate) writing: bool,
}

/// One channel per job that has been watched or has run in this incarnation.
#[derive(Debug, Default)]
pub(crate) struct Feeds(Mutex<HashMap<JobId, watch::Sender<Mark>>>);

impl Feeds {
    fn with<T>(&self, job: &JobId, act: impl FnOnce(&watch::Sender<Mark>) -> T) -> T {
        let mut feeds = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(feeds.entry(job.clone()).or_default())
    }

    /// Notes that a notice or outer step was added.
    pub(crate) fn changed(&self, job: &JobId) {
        self.with(job, |feed| feed.send_modify(|mark| mark.changes += 1));
    }

    /// Notes that the journal was cut back and is open for writing now.
    pub(crate) fn cut(&self, job: &JobId) {
        self.with(job, |feed| {
            feed.send_modify(|mark| {
                mark.cuts += 1;
                mark.writing = true;
            });
        });
    }

    /// Notes that the journal is closed.
    pub(crate) fn closed(&self, job: &JobId) {
        self.with(job, |feed| feed.send_modify(|mark| mark.writing = false));
    }

    pub(crate) fn subscribe(&self, job: &JobId) -> watch::Receiver<Mark> {
        self.with(job, watch::Sender::subscribe)
    }
}
