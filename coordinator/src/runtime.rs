//! The runtime around the core: one task owns the state machine and carries out its commands; everything else
//! sends it events over a bounded channel.

mod abreast;
mod backlog;
mod database;
mod feeds;
mod files;
mod owner;
mod storage;
mod strangers;
mod turns;
mod weights;

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::JobId;
use tokio::sync::{mpsc, oneshot};

pub(crate) use feeds::{Feeds, Subscription};
pub(crate) use owner::{Clock, Owner};
pub(crate) use strangers::Strangers;
pub(crate) use turns::Turn;
pub(crate) use weights::{Published, WeightsTable};

use crate::observe::Observer;
use crate::state::Caller;
use crate::state::command::WorkerCommand;
use crate::state::event::{CallError, Event, Reply, ReplyTo, UserCall};
use crate::store::Store;

/// Capacity of each lane of the channel to the owner; senders wait when it is full.
const EVENTS: usize = 1024;
/// Maximum number of commands waiting to be sent to a worker. The owner never waits for a worker: one that falls
/// behind further is given up.
pub(crate) const OUTBOX: usize = 256;

/// An event for the owner, with the channels that belong to it. The event is made when the owner takes it, because
/// only then it gets its `ReplyTo`.
pub(crate) struct Envelope {
    make: Box<dyn FnOnce(ReplyTo) -> Event + Send>,
    reply: Option<oneshot::Sender<Reply>>,
    outbox: Option<mpsc::Sender<WorkerCommand>>,
}

/// Handle for sending events to the owner. Calls of users have a lane of their own, so that they do not delay what workers
/// send, however many there are.
#[derive(Clone)]
pub(crate) struct Mailbox {
    workers: mpsc::Sender<Envelope>,
    users: mpsc::Sender<Envelope>,
}

/// The owner's end of a [`Mailbox`].
pub(crate) struct Mail {
    workers: mpsc::Receiver<Envelope>,
    users: mpsc::Receiver<Envelope>,
    /// Events of workers since the last call of a user.
    in_a_row: usize,
}

/// Events of workers that go before a call of a user that waits.
const IN_A_ROW: usize = 64;

impl Mail {
    /// The next event, those of workers first; `None` when nobody can send any more. Workers cannot keep users out.
    pub(crate) async fn next(&mut self) -> Option<Envelope> {
        if self.in_a_row >= IN_A_ROW
            && let Ok(envelope) = self.users.try_recv()
        {
            self.in_a_row = 0;
            return Some(envelope);
        }
        tokio::select! {
            biased;
            Some(envelope) = self.workers.recv() => {
                self.in_a_row += 1;
                Some(envelope)
            }
            Some(envelope) = self.users.recv() => {
                self.in_a_row = 0;
                Some(envelope)
            }
            else => None,
        }
    }
}

/// The owner has ended: the coordinator is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the coordinator is shutting down")]
pub(crate) struct Ended;

impl Mailbox {
    pub(crate) fn new() -> (Self, Mail) {
        let ((workers, of_workers), (users, of_users)) = (mpsc::channel(EVENTS), mpsc::channel(EVENTS));
        (Self { workers, users }, Mail { workers: of_workers, users: of_users, in_a_row: 0 })
    }

    /// Sends an event that has no answer.
    pub(crate) async fn tell(&self, event: Event) -> Result<(), Ended> {
        let lane = match event {
            // Not before the call that it follows.
            Event::UploadAbandoned(_) => &self.users,
            _ => &self.workers,
        };
        let envelope = Envelope { make: Box::new(move |_| event), reply: None, outbox: None };
        lane.send(envelope).await.map_err(|_| Ended)
    }

    /// Makes a call of a user and waits for its answer.
    pub(crate) async fn call(&self, caller: Caller, call: UserCall) -> Result<Reply, Ended> {
        let make = move |reply_to| Event::User { reply_to, caller, call };
        send(&self.users, make, None).await
    }

    /// Sends an event of a worker and waits for its answer.
    pub(crate) async fn ask(
        &self,
        make: impl FnOnce(ReplyTo) -> Event + Send + 'static,
    ) -> Result<Reply, Ended> {
        send(&self.workers, make, None).await
    }

    /// Sends a registration with the channel for commands to the worker. The owner installs the channel before it
    /// answers, so that no command is lost.
    pub(crate) async fn register(
        &self,
        make: impl FnOnce(ReplyTo) -> Event + Send + 'static,
        outbox: mpsc::Sender<WorkerCommand>,
    ) -> Result<Reply, Ended> {
        send(&self.workers, make, Some(outbox)).await
    }
}

async fn send(
    lane: &mpsc::Sender<Envelope>,
    make: impl FnOnce(ReplyTo) -> Event + Send + 'static,
    outbox: Option<mpsc::Sender<WorkerCommand>>,
) -> Result<Reply, Ended> {
    let (reply, answer) = oneshot::channel();
    let envelope = Envelope { make: Box::new(make), reply: Some(reply), outbox };
    lane.send(envelope).await.map_err(|_| Ended)?;
    answer.await.map_err(|_| Ended)
}

/// What the gRPC services and the HTTP server share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) mailbox: Mailbox,
    /// Weights that workers download.
    pub(crate) weights: Arc<WeightsTable>,
    /// Wakes the watchers of jobs.
    pub(crate) feeds: Arc<Feeds>,
    /// The durable state. Services only read job data from it.
    pub(crate) store: Arc<Store>,
    /// Receives metrics and observations.
    pub(crate) observer: Arc<Observer>,
    /// A transfer that makes no progress for this long is given up.
    pub(crate) transfer_idle: Duration,
    /// A peer that is silent for longer than this is lost.
    pub(crate) failure_detection: Duration,
    pub(crate) heartbeat_interval: Duration,
    /// Maximum size in bytes of an uploaded file.
    pub(crate) max_upload: u64,
}

impl Shared {
    /// The call that retries a job, with what the core needs of the store.
    pub(crate) async fn retry(&self, id: JobId) -> Result<UserCall, CallError> {
        let (store, job) = (Arc::clone(&self.store), id.clone());
        let read = tokio::task::spawn_blocking(move || store.spec(&job)).await;
        let unreadable = |error: &dyn std::fmt::Display| CallError::Unreadable(error.to_string());
        let spec = read.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
        Ok(UserCall::Retry { id, spec })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_of_workers_go_first_and_keep_no_user_out() {
        let (mailbox, mut mail) = Mailbox::new();
        for _ in 0..2 * IN_A_ROW {
            mailbox.tell(Event::Shutdown).await.unwrap();
        }
        let asking = tokio::spawn({
            let mailbox = mailbox.clone();
            async move { mailbox.call(Caller::Anyone, UserCall::Workers).await }
        });
        while mailbox.users.capacity() == EVENTS {
            tokio::task::yield_now().await;
        }
        let before = async {
            let mut before = 0;
            while mail.next().await.unwrap().reply.is_none() {
                before += 1;
            }
            before
        };
        assert_eq!(before.await, IN_A_ROW);
        assert!(asking.await.unwrap().is_err(), "the call was dropped without an answer");
    }
}
