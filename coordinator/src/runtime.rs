//! The thin runtime around the core: one task owns the state machine and carries out its commands; everything
//! else sends it events over a bounded channel.

mod database;
mod feeds;
mod files;
mod owner;
mod weights;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub(crate) use feeds::{Feeds, Mark};
pub(crate) use owner::{Clock, Owner};
pub(crate) use weights::WeightsTable;

use crate::observe::Observer;
use crate::state::command::WorkerCommand;
use crate::state::event::{Event, Reply, ReplyTo};
use crate::store::Store;

/// Events that may wait for the owner.
const EVENTS: usize = 1024;
/// Control messages that may wait for a worker; a worker that lets more wait is given up.
pub(crate) const OUTBOX: usize = 256;

/// An event on its way to the owner.
pub(crate) struct Envelope {
    make: Box<dyn FnOnce(ReplyTo) -> Event + Send>,
    reply: Option<oneshot::Sender<Reply>>,
    outbox: Option<mpsc::Sender<WorkerCommand>>,
}

/// Sends events to the owner.
#[derive(Clone)]
pub(crate) struct Mailbox(mpsc::Sender<Envelope>);

/// The owner is gone: the coordinator is ending.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the coordinator is shutting down")]
pub(crate) struct Ended;

impl Mailbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Envelope>) {
        let (sender, receiver) = mpsc::channel(EVENTS);
        (Self(sender), receiver)
    }

    /// Sends an event that needs no answer.
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

    /// Sends a registration with the channel on which the worker's messages go out.
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

/// What the gRPC services share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// To the owner.
    pub(crate) mailbox: Mailbox,
    /// Weights that are served.
    pub(crate) weights: Arc<WeightsTable>,
    /// Wakes watchers.
    pub(crate) feeds: Arc<Feeds>,
    /// Durable state, for reading.
    pub(crate) store: Arc<Store>,
    /// Hears what happens.
    pub(crate) observer: Arc<Observer>,
    /// How long a transfer may stand still.
    pub(crate) transfer_idle: Duration,
    /// Silence that means loss.
    pub(crate) failure_detection: Duration,
    /// Time between heartbeats.
    pub(crate) heartbeat_interval: Duration,
    /// Most bytes of an uploaded file.
    pub(crate) max_upload: u64,
}
