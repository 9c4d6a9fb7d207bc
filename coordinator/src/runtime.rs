//! The runtime around the core: one task owns the state machine and carries out its commands; everything else
//! sends it events over a bounded channel.

mod backlog;
mod database;
mod feeds;
mod files;
mod owner;
mod storage;
mod turns;
mod weights;

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::JobId;
use tokio::sync::{mpsc, oneshot};

pub(crate) use feeds::{Feeds, Subscription};
pub(crate) use owner::{Clock, Owner};
pub(crate) use turns::Turn;
pub(crate) use weights::{Published, WeightsTable};

use crate::observe::Observer;
use crate::state::command::WorkerCommand;
use crate::state::event::{CallError, Event, Reply, ReplyTo, UserCall};
use crate::store::Store;

/// Capacity of the channel to the owner; senders wait when it is full.
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

/// Handle for sending events to the owner.
#[derive(Clone)]
pub(crate) struct Mailbox(mpsc::Sender<Envelope>);

/// The owner has ended: the coordinator is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the coordinator is shutting down")]
pub(crate) struct Ended;

impl Mailbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Envelope>) {
        let (sender, receiver) = mpsc::channel(EVENTS);
        (Self(sender), receiver)
    }

    /// Sends an event that has no answer.
    pub(crate) async fn tell(&self, event: Event) -> Result<(), Ended> {
        let envelope = Envelope { make: Box::new(move |_| event), reply: None, outbox: None };
        self.0.send(envelope).await.map_err(|_| Ended)
    }

    /// Sends an event and waits for its answer.
    pub(crate) async fn ask(
        &self,
        make: impl FnOnce(ReplyTo) -> Event + Send + 'static,
    ) -> Result<Reply, Ended> {
        self.ask_with(make, None).await
    }

    /// Sends a registration with the channel for commands to the worker. The owner installs the channel before it
    /// answers, so that no command is lost.
    pub(crate) async fn register(
        &self,
        make: impl FnOnce(ReplyTo) -> Event + Send + 'static,
        outbox: mpsc::Sender<WorkerCommand>,
    ) -> Result<Reply, Ended> {
        self.ask_with(make, Some(outbox)).await
    }

    async fn ask_with(
        &self,
        make: impl FnOnce(ReplyTo) -> Event + Send + 'static,
        outbox: Option<mpsc::Sender<WorkerCommand>>,
    ) -> Result<Reply, Ended> {
        let (reply, answer) = oneshot::channel();
        let envelope = Envelope { make: Box::new(make), reply: Some(reply), outbox };
        self.0.send(envelope).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
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
