//! The thread that writes the database, and reads from it what answers to users need. Changes that cannot be written,
//! because the disk fails, are kept and retried. Meanwhile nobody is told that their changes are stored.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::backlog::{Backlog, Change};
use super::files::FileTask;
use super::storage::{Attempts, Storage};
use super::{Feeds, Shared};
use crate::state::StorageFailure;
use crate::state::event::{CallError, JobView, Reply, SpecView};
use crate::store::{Store, StoreError};

/// Capacity of the thread's queue.
const TASKS: usize = 1024;

/// Tasks of the thread, done in order: a reply goes out after the changes before it are stored.
pub(super) enum DatabaseTask {
    /// Store a change.
    Store(Change),
    /// Answer a call that only reads.
    Reply(oneshot::Sender<Reply>, Reply),
    /// Answer a call that has changed something, once the changes before it are stored.
    Acknowledge(oneshot::Sender<Reply>, Reply),
    /// Retry changes that could not be written.
    Retry,
}

/// State of the thread.
struct Database {
    store: Arc<Store>,
    feeds: Arc<Feeds>,
    /// The thread that removes the files of deleted jobs. It never waits for this one.
    files: mpsc::Sender<FileTask>,
    backlog: Backlog,
    storage: Storage,
    attempts: Attempts,
}

/// Starts the thread.
pub(super) fn start(
    shared: &Shared,
    files: mpsc::Sender<FileTask>,
    storage: Storage,
) -> std::io::Result<(mpsc::Sender<DatabaseTask>, JoinHandle<()>)> {
    let (sender, mut tasks) = mpsc::channel(TASKS);
    let attempts = Attempts::new(storage.clone());
    let (store, feeds) = (Arc::clone(&shared.store), Arc::clone(&shared.feeds));
    let mut database = Database { store, feeds, files, backlog: Backlog::default(), storage, attempts };
    let thread = std::thread::Builder::new().name("database".into()).spawn(move || {
        while let Some(task) = tasks.blocking_recv() {
            database.carry_out(task);
        }
    })?;
    Ok((sender, thread))
}

impl Database {
    fn carry_out(&mut self, task: DatabaseTask) {
        match task {
            DatabaseTask::Store(change) => {
                // What could not be written before waits for the next attempt, and what comes after it with it.
                let waits = self.backlog.first().is_some();
                self.backlog.push(change);
                if !waits {
                    self.write();
                }
            }
            DatabaseTask::Retry => self.retry(),
            // An error of these sends means that the caller has given up.
            DatabaseTask::Reply(waiting, reply) => drop(waiting.send(self.complete(reply))),
            DatabaseTask::Acknowledge(waiting, reply) => {
                let unstored = self.backlog.first().and_then(|_| self.storage.failure());
                drop(waiting.send(match unstored {
                    Some(failure) => unsettled(reply, &failure),
                    None => self.complete(reply),
                }));
            }
        }
    }

    /// Writes again what could not be written, if there is room.
    fn retry(&mut self) {
        if !self.attempts.succeed() {
            return;
        }
        self.write();
        if self.backlog.first().is_none() && self.store.restore() {
            self.storage.publish();
        }
    }

    /// Writes changes in their order, until one fails.
    fn write(&mut self) {
        while let Some(change) = self.backlog.first() {
            let stored = self.store(change);
            if let Err(error) = stored {
                return self.storage.failed(&error);
            }
            match self.backlog.pop() {
                Some(Change::Job(change)) => self.feeds.changed(&change.record.id),
                Some(Change::Delete(job)) => {
                    self.feeds.deleted(&job);
                    // An error means that the process ends; the next start removes the files.
                    let _ = self.files.blocking_send(FileTask::Remove(job));
                }
                Some(Change::KeepUpload(..) | Change::DropUpload(_)) | None => {}
            }
        }
        // On a full disk, changes are stored in the room that was reserved for this.
        self.storage.publish();
    }

    fn store(&self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Job(change) => self.store.put(change),
            Change::Delete(job) => self.store.delete(job),
            Change::KeepUpload(ticket, record) => self.store.keep_upload(*ticket, record),
            Change::DropUpload(digest) => self.store.drop_upload(digest),
        }
    }

    /// The reply with the specifications that are wanted.
    fn complete(&self, mut reply: Reply) -> Reply {
        let completed = match &mut reply {
            Reply::Job(result) => match result.as_mut() {
                Ok(view) => self.read_spec(view),
                Err(_) => Ok(()),
            },
            Reply::Jobs(views, _) => views.iter_mut().try_for_each(|view| self.read_spec(view)),
            _ => Ok(()),
        };
        match completed {
            Ok(()) => reply,
            Err(error) => {
                tracing::error!(%error, "the specification of a job cannot be read");
                Reply::Job(Box::new(Err(CallError::Unreadable(error.to_string()))))
            }
        }
    }

    fn read_spec(&self, view: &mut JobView) -> Result<(), StoreError> {
        if view.spec == SpecView::Wanted {
            // One that is missing must not make a whole list unreadable.
            let spec = match self.store.spec(&view.record.id) {
                // Everyone was told that the disk fails. The rest of the answer is of use without it.
                Err(_) if self.storage.is_failing() => None,
                read => read?,
            };
            view.spec = spec.map_or(SpecView::Omitted, SpecView::Encoded);
        }
        Ok(())
    }
}

/// The answer in place of one that would promise what is not stored.
fn unsettled(reply: Reply, failure: &StorageFailure) -> Reply {
    let error = || CallError::Unsettled(failure.clone());
    match reply {
        Reply::Job(result) if result.is_ok() => Reply::Job(Box::new(Err(error()))),
        Reply::Done(Ok(())) => Reply::Done(Err(error())),
        refused => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_not_stored_is_not_reported_as_done_and_a_refusal_stays_one() {
        let failure = StorageFailure { full: false, reason: "state.redb: read-only".into() };
        let done = unsettled(Reply::Done(Ok(())), &failure);
        assert!(matches!(done, Reply::Done(Err(CallError::Unsettled(found))) if found == failure));
        let refused = unsettled(Reply::Done(Err(CallError::Stopping)), &failure);
        assert!(matches!(refused, Reply::Done(Err(CallError::Stopping))));
    }
}
