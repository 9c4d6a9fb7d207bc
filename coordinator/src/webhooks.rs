//! Webhooks: what operators are told of jobs and of the cluster by POST requests to URLs of theirs.
//!
//! `watch.rs` picks from the reports of the state machine what is told, `event.rs` puts it into JSON, and one task for each
//! receiver sends it (`deliver.rs`, `http.rs`), signed (`sign.rs`) and in order. Nothing waits for a receiver: what does not
//! fit into its bounded queue is dropped and counted.

mod deliver;
mod event;
mod http;
mod sign;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lookbehind_identity::IdentityError;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::observe::WebhookCounts;
use crate::state::UnixMillis;
use crate::state::observation::Observation;
use deliver::{Message, Receiver, Terms};
use event::Event;
use http::Client;
pub use http::{ReceiverUrl, UrlError};
use sign::Secret;
pub use sign::SecretError;
use watch::Watch;

/// Where to and with which secret.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The receivers.
    pub urls: Vec<ReceiverUrl>,
    /// File with the secret of the signatures.
    pub secret_file: PathBuf,
}

/// Why webhooks cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Connections cannot be encrypted.
    #[error("webhook: {0}")]
    Tls(#[from] IdentityError),
}

/// The way to the receivers. Dropping it gives up what is not sent.
pub(crate) struct Webhooks {
    /// Identity of this start of the coordinator: with the number of an event, it identifies the event.
    source: Source,
    watch: Mutex<Watch>,
    events: AtomicU64,
    /// Empty after [`Self::shutdown`].
    receivers: Mutex<Vec<Queue>>,
    counts: WebhookCounts,
    tasks: TaskTracker,
    _end: DropGuard,
}

/// What a coordinator calls itself in events.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) cluster: String,
    pub(crate) incarnation: u64,
}

/// The queue of one receiver.
struct Queue {
    messages: mpsc::Sender<Arc<Message>>,
    /// Its URL without what may be secret.
    origin: String,
    /// Whether the last event found no room.
    full: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Webhooks {
    /// Starts the tasks that send.
    ///
    /// # Errors
    /// If the secret cannot be used, or connections cannot be encrypted.
    pub(crate) fn start(
        config: &WebhookConfig,
        source: Source,
        counts: WebhookCounts,
    ) -> Result<Self, WebhookError> {
        Self::start_with(config, source, counts, Terms::default())
    }

    fn start_with(
        config: &WebhookConfig,
        source: Source,
        counts: WebhookCounts,
        terms: Terms,
    ) -> Result<Self, WebhookError> {
        let secret = Arc::new(Secret::read(&config.secret_file)?);
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let queue = |url: &ReceiverUrl| {
            let (messages, waiting) = mpsc::channel(terms.queue);
            let (secret, counts) = (Arc::clone(&secret), counts.clone());
            let receiver = Receiver { client: Client::new(url.clone())?, secret, counts, terms };
            let end = end.clone();
            tasks.spawn(async move {
                let _ = end.run_until_cancelled(receiver.serve(waiting)).await;
            });
            Ok(Queue { messages, origin: url.origin().to_owned(), full: false })
        };
        let receivers = config.urls.iter().map(queue).collect::<Result<_, WebhookError>>()?;
        let receivers = Mutex::new(receivers);
        tasks.close();
        let (watch, events) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { source, watch, events, receivers, counts, tasks, _end: end.drop_guard() })
    }

    /// Tells what a report of the state machine is told of.
    pub(crate) fn note(&self, at: UnixMillis, observation: &Observation) {
        let event = lock(&self.watch).note(observation);
        if let Some(event) = event {
            self.tell(at, &event);
        }
    }

    /// Tells that the coordinator has entered a degraded mode, with the reason, or has left it.
    pub(crate) fn degraded(&self, at: UnixMillis, mode: &'static str, reason: Option<&str>) {
        self.tell(at, &Event::mode(mode, reason));
    }

    fn tell(&self, at: UnixMillis, event: &Event) {
        let number = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let message = Arc::new(event.message(&self.source, number, at));
        for queue in lock(&self.receivers).iter_mut() {
            let sent = queue.messages.try_send(Arc::clone(&message)).is_ok();
            if !sent {
                self.counts.dropped();
                if !queue.full {
                    let (receiver, event) = (&queue.origin, event.name());
                    tracing::warn!(
                        receiver,
                        event,
                        "the receiver of a webhook is too slow; events are dropped"
                    );
                }
            }
            queue.full = !sent;
        }
    }

    /// Sends what is queued, for at most `limit`.
    pub(crate) async fn shutdown(&self, limit: Duration) {
        lock(&self.receivers).clear();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("the last events did not reach the receivers of webhooks in time");
        }
    }
}

#[cfg(test)]
mod tests;
