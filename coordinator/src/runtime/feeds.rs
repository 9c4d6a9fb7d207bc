//! Wakes the watchers of a job when there is something new to read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Whether the job was deleted.
    pub(crate) deleted: bool,
}

type Table = HashMap<JobId, watch::Sender<Mark>>;

/// One channel per job that is watched or whose journal is open.
#[derive(Debug, Default)]
pub(crate) struct Feeds(Mutex<Table>);

/// The channel of a job, held by a watcher.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) marks: watch::Receiver<Mark>,
    job: JobId,
    feeds: Arc<Feeds>,
}

impl Feeds {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the mark of a job that has a channel, and removes the channel if nobody needs it any more.
    fn mark(&self, job: &JobId, change: impl FnOnce(&mut Mark)) {
        let mut table = self.table();
        if let Some(feed) = table.get(job) {
            feed.send_modify(change);
            if feed.receiver_count() == 0 && !feed.borrow().writing {
                table.remove(job);
            }
        }
    }

    /// Notes that a notice or outer step was added.
    pub(crate) fn changed(&self, job: &JobId) {
        self.mark(job, |mark| mark.changes += 1);
    }

    /// Notes that the journal was cut back and is open for writing now.
    pub(crate) fn cut(&self, job: &JobId) {
        self.table().entry(job.clone()).or_default().send_modify(|mark| {
            mark.cuts += 1;
            mark.writing = true;
        });
    }

    /// Notes that the journal is closed.
    pub(crate) fn closed(&self, job: &JobId) {
        self.mark(job, |mark| mark.writing = false);
    }

    /// Notes that the job was deleted.
    pub(crate) fn deleted(&self, job: &JobId) {
        self.mark(job, |mark| mark.deleted = true);
    }

    /// Whoever subscribes before they ask for the job misses nothing that happens to it afterwards.
    pub(crate) fn subscribe(self: &Arc<Self>, job: &JobId) -> Subscription {
        let marks = self.table().entry(job.clone()).or_default().subscribe();
        Subscription { marks, job: job.clone(), feeds: Arc::clone(self) }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut table = self.feeds.table();
        let Some(feed) = table.get(&self.job) else { return };
        // This watcher's own receiver is dropped after this.
        if feed.receiver_count() <= 1 && !feed.borrow().writing {
            table.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_watched_jobs_and_those_that_write_have_a_channel() {
        let feeds = Arc::new(Feeds::default());
        let [watched, running, other] = [1, 2, 3].map(JobId::from_entropy);
        feeds.cut(&running);
        let subscriptions = [feeds.subscribe(&watched), feeds.subscribe(&watched)];
        for job in [&watched, &running, &other] {
            feeds.changed(job);
        }
        assert_eq!(feeds.table().len(), 2);
        let [first, mut second] = subscriptions;
        drop(first);
        feeds.deleted(&watched);
        assert!(second.marks.borrow_and_update().deleted, "the other watcher is told");
        drop(second);
        assert_eq!(feeds.table().keys().collect::<Vec<_>>(), [&running]);
        assert!(feeds.subscribe(&running).marks.borrow().writing, "what is open is known to a new watcher");
        feeds.closed(&running);
        assert!(feeds.table().is_empty());
    }
}
