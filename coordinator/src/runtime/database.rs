//! The thread that writes the database. Changes that cannot be written, because the disk is full or fails, are kept
//! and retried. Meanwhile jobs continue to train, and users get an error instead of state that is not stored.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::Feeds;
use crate::state::event::{CallError, Reply};
use crate::state::{JobRecord, Notice};
use crate::store::Store;

/// Capacity of the thread's queue.
const TASKS: usize = 1024;
/// Changes kept while they cannot be written. Beyond that, old ones are dropped with their notices, but never the
/// newest record of a job.
const UNWRITTEN: usize = 4096;

/// Tasks of the thread, done in order: a reply goes out after the changes before it are stored.
pub(super) enum DatabaseTask {
    /// Store a job's record and a notice.
    Put(Box<JobRecord>, Option<Notice>),
    /// Answer a call, or refuse it if a change before it is not stored.
    Reply(oneshot::Sender<Reply>, Reply),
    /// Retry changes that could not be written.
    Retry,
}

type Change = (Box<JobRecord>, Option<Notice>);

/// State of the thread.
struct Database {
    store: Arc<Store>,
    feeds: Arc<Feeds>,
    unwritten: VecDeque<Change>,
    /// Why the first unwritten change could not be written; `None` while the database works.
    failure: Option<String>,
}

/// Starts the thread.
pub(super) fn start(
    store: Arc<Store>,
    feeds: Arc<Feeds>,
) -> std::io::Result<(mpsc::Sender<DatabaseTask>, JoinHandle<()>)> {
    let (sender, mut tasks) = mpsc::channel(TASKS);
    let mut database = Database { store, feeds, unwritten: VecDeque::new(), failure: None };
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
            DatabaseTask::Put(record, notice) => {
                self.unwritten.push_back((record, notice));
                // While the disk fails, only the retries of the ticks write: they are frequent enough.
                if self.failure.is_none() {
                    self.write();
                } else if self.unwritten.len() > UNWRITTEN {
                    self.forget_oldest();
                }
            }
            DatabaseTask::Retry => self.write(),
            DatabaseTask::Reply(waiting, reply) => {
                // An error means that the caller has given up.
                let _ = waiting.send(match &self.failure {
                    Some(reason) => refuse(reply, reason),
                    None => reply,
                });
            }
        }
    }

    /// Writes changes in their order, until one fails.
    fn write(&mut self) {
        while let Some((record, notice)) = self.unwritten.front() {
            if let Err(error) = self.store.put(record, notice.as_ref()) {
                if self.failure.is_none() {
                    tracing::error!(%error, "the state cannot be stored; it is tried again");
                }
                self.failure = Some(error.to_string());
                return;
            }
            self.feeds.changed(&record.id);
            self.unwritten.pop_front();
        }
        if self.failure.take().is_some() {
            tracing::info!("the state can be stored again");
        }
    }

    /// Drops the oldest change that is followed by a newer one of the same job.
    fn forget_oldest(&mut self) {
        let newer = |index: usize, record: &JobRecord| {
            self.unwritten.iter().skip(index + 1).any(|(later, _)| later.id == record.id)
        };
        let old = self.unwritten.iter().enumerate().find(|(index, (record, _))| newer(*index, record));
        if let Some(index) = old.map(|(index, _)| index) {
            self.unwritten.remove(index);
        }
    }
}

/// The answer in place of one that would report state that is not stored.
fn refuse(reply: Reply, reason: &str) -> Reply {
    match reply {
        Reply::Job(_) | Reply::Jobs(..) => Reply::Job(Box::new(Err(CallError::NotStored(reason.to_owned())))),
        other => other,
    }
}
