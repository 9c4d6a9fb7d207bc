//! Sending to one receiver: in order, with retries, and never for longer than the terms say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use lookbehind_common::BUILD_VERSION;
use tokio::sync::mpsc;

use super::http::{Client, PostError};
use super::sign::Secret;
use crate::observe::{WebhookCounts, unix_now};

/// Header with the identity of the event: a receiver that gets it twice has the same event twice.
const ID: &str = "Lookbehind-Event-Id";
/// Header with the time of sending, in seconds since 1970, which the signature covers.
const TIMESTAMP: &str = "Lookbehind-Timestamp";
/// Header with the signature.
const SIGNATURE: &str = "Lookbehind-Signature";

/// Bounds of the deliveries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Events that wait for one receiver.
    pub(super) queue: usize,
    /// How often an event is sent at most.
    pub(super) attempts: u32,
    /// Pause after the first attempt; doubled after each further one.
    pub(super) pause: Duration,
    /// The longest pause.
    pub(super) longest_pause: Duration,
    /// How long one attempt may take.
    pub(super) patience: Duration,
}

impl Default for Terms {
    /// An event is given up after about a quarter of an hour.
    fn default() -> Self {
        Self {
            queue: 256,
            attempts: 20,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            patience: Duration::from_secs(10),
        }
    }
}

/// An event as it is sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) event: &'static str,
    pub(super) id: String,
    pub(super) body: Bytes,
}

/// Why an attempt did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// No answer.
    #[error("{0}")]
    NoAnswer(#[from] PostError),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The receiver is in trouble, or busy.
    #[error("it answered {0}")]
    Busy(StatusCode),
    /// The receiver does not take it, or is elsewhere: redirects are not followed, because the body is for this receiver.
    #[error("it answered {0}")]
    Refused(StatusCode),
}

impl Failure {
    /// Whether another attempt may succeed.
    fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// One receiver.
pub(super) struct Receiver {
    pub(super) client: Client,
    pub(super) secret: Arc<Secret>,
    pub(super) counts: WebhookCounts,
    pub(super) terms: Terms,
}

impl Receiver {
    /// Sends events in their order until the queue is closed and empty.
    pub(super) async fn serve(self, mut waiting: mpsc::Receiver<Arc<Message>>) {
        while let Some(message) = waiting.recv().await {
            match self.deliver(&message).await {
                Ok(()) => self.counts.delivered(),
                Err(failure) => {
                    self.counts.failed();
                    let (receiver, event, id) = (self.client.origin(), message.event, &message.id);
                    tracing::warn!(receiver, event, id, "webhook not delivered: {failure}");
                }
            }
        }
    }

    async fn deliver(&self, message: &Message) -> Result<(), Failure> {
        let (mut attempt, mut pause) = (1, self.terms.pause);
        loop {
            let failure = match self.attempt(message).await {
                Err(failure) if failure.is_transient() && attempt < self.terms.attempts => failure,
                done => return done,
            };
            if attempt == 1 {
                let (receiver, event) = (self.client.origin(), message.event);
                tracing::info!(receiver, event, "webhook not delivered yet, it is tried again: {failure}");
            }
            tokio::time::sleep(pause).await;
            (attempt, pause) = (attempt + 1, (pause * 2).min(self.terms.longest_pause));
        }
    }

    async fn attempt(&self, message: &Message) -> Result<(), Failure> {
        // The time of this attempt, so that receivers can refuse what somebody has kept and sends again.
        let seconds = unix_now().0 / 1000;
        let signature = self.secret.sign(seconds, &message.body);
        let posted = self.client.post(
            |request| {
                request
                    .header(USER_AGENT, format!("lookbehind-coordinator/{BUILD_VERSION}"))
                    .header(CONTENT_TYPE, "application/json")
                    .header(ID, &message.id)
                    .header(TIMESTAMP, seconds)
                    .header(SIGNATURE, signature)
            },
            message.body.clone(),
        );
        let patience = self.terms.patience;
        let status = tokio::time::timeout(patience, posted).await.map_err(|_| Failure::Late(patience))??;
        match status {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                Err(Failure::Busy(status))
            }
            status if status.is_server_error() => Err(Failure::Busy(status)),
            status => Err(Failure::Refused(status)),
        }
    }
}
