//! The thread that writes the database, and reads from it what answers to users need. Changes that cannot be written,
//! because the disk is full or fails, are kept and retried. Meanwhile jobs continue to train, and users get an error
//! instead of state that is not stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::backlog::{Backlog, Change};
use super::files::FileTask;
use super::{Feeds, Shared};
use crate::observe::Observer;
use crate::state::event::{CallError, JobView, Reply, SpecView};
use crate::store::{Store, StoreError};

/// Capacity of the thread's queue.
const TASKS: usize = 1024;

/// Tasks of the thread, done in order: a reply goes out after the changes before it are stored.
pub(super) enum DatabaseTask {
    /// Store a change.
    Store(Change),
    /// Answer a call, or refuse it if a change before it is not stored.
    Reply(oneshot::Sender<Reply>, Reply),
    /// Retry changes that could not be written.
    Retry,
}

/// Why the state cannot be stored at present, for those who would add to what waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct StorageFailure(Arc<Mutex<Option<String>>>);

impl StorageFailure {
    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses what would be created while the state cannot be stored: it would only wait in memory.
    pub(crate) fn check(&self) -> Result<(), CallError> {
        self.get().map_or(Ok(()), |reason| Err(CallError::NotStored(reason)))
    }
}

/// State of the thread.
struct Database {
    store: Arc<Store>,
    feeds: Arc<Feeds>,
    observer: Arc<Observer>,
    /// The thread that removes the files of deleted jobs. It never waits for this one.
    files: mpsc::Sender<FileTask>,
    backlog: Backlog,
    /// Why the first change that waits could not be written; none while the database works.
    failure: StorageFailure,
}

/// Starts the thread.
pub(super) fn start(
    shared: &Shared,
    files: mpsc::Sender<FileTask>,
) -> std::io::Result<(mpsc::Sender<DatabaseTask>, JoinHandle<()>)> {
    let (sender, mut tasks) = mpsc::channel(TASKS);
    let mut database = Database {
        store: Arc::clone(&shared.store),
        feeds: Arc::clone(&shared.feeds),
        observer: Arc::clone(&shared.observer),
        files,
        backlog: Backlog::default(),
        failure: shared.storage_failure.clone(),
    };
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
                self.backlog.push(change);
                // While the disk fails, only the retries of the ticks write: they are frequent enough.
                if self.failure.get().is_none() {
                    self.write();
                }
            }
            DatabaseTask::Retry => self.write(),
            DatabaseTask::Reply(waiting, reply) => {
                // An error means that the caller has given up.
                let _ = waiting.send(match self.failure.get() {
                    Some(reason) => refuse(reply, reason),
                    None => self.complete(reply),
                });
            }
        }
    }

    /// Writes changes in their order, until one fails.
    fn write(&mut self) {
        while let Some(change) = self.backlog.first() {
            if let Err(error) = self.store(change) {
                if self.failure.get().is_none() {
                    tracing::error!(%error, "the state cannot be stored; it is tried again");
                    self.observer.degraded("storage", Some(&error.to_string()));
                }
                return self.failure.set(Some(error.to_string()));
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
        if self.failure.get().is_some() {
            self.failure.set(None);
            tracing::info!("the state can be stored again");
            self.observer.degraded("storage", None);
        }
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
                refuse(reply, error.to_string())
            }
        }
    }

    fn read_spec(&self, view: &mut JobView) -> Result<(), StoreError> {
        if view.spec == SpecView::Wanted {
            // One that is missing must not make a whole list unreadable.
            view.spec = self.store.spec(&view.record.id)?.map_or(SpecView::Omitted, SpecView::Encoded);
        }
        Ok(())
    }
}

/// The answer in place of one that would report state that is not stored or cannot be read.
fn refuse(reply: Reply, reason: String) -> Reply {
    match reply {
        Reply::Job(_) | Reply::Jobs(..) => Reply::Job(Box::new(Err(CallError::NotStored(reason)))),
        Reply::Done(_) => Reply::Done(Err(CallError::NotStored(reason))),
        other => other,
    }
}
