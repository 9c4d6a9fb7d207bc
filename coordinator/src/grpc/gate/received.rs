//! The body of a request that keeps to the limits of its method: size of a message, time, rate and memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use lookbehind_telemetry::http::unread::at_least_rate;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

use super::budget::Ledger;
use super::methods::Shape;
use crate::observe::{Observer, Refused};

/// Length of what precedes a message: a flag, and the length as four bytes.
const PREFIX: usize = 5;

/// Messages of a conversation that are longer than this count many times: read, they take up to many times their length,
/// and what is read of them may wait.
const PLAIN: usize = 16 << 10;
const WEIGHT: usize = 8;

/// What a message of a conversation counts.
fn weight(bytes: usize) -> usize {
    if bytes > PLAIN { bytes.saturating_mul(WEIGHT) } else { bytes }
}

/// A body of a request that is being received.
pub(super) struct Received {
    body: Body,
    shape: Shape,
    boundaries: Boundaries,
    pace: Pace,
    /// Wakes the reader when the sender has been waited for too long.
    alarm: Option<Pin<Box<Sleep>>>,
    ledger: Arc<Ledger>,
    /// Bytes that arrived.
    received: usize,
    /// Bytes that `ledger` holds for this body.
    held: usize,
    observer: Arc<Observer>,
}

impl Received {
    pub(super) fn new(
        body: Body,
        shape: Shape,
        patience: Duration,
        ledger: Arc<Ledger>,
        observer: Arc<Observer>,
    ) -> Self {
        Self {
            body,
            shape,
            boundaries: Boundaries::default(),
            pace: Pace::new(patience),
            alarm: None,
            ledger,
            received: 0,
            held: 0,
            observer,
        }
    }

    /// Takes note of the bytes that arrived.
    fn arrived(&mut self, data: &Bytes) -> Result<(), Status> {
        let (largest, gathered) = match self.shape {
            Shape::Message { largest } | Shape::Conversation { largest } => (largest, largest),
            Shape::Transfer { largest, gathered } => (largest, gathered),
        };
        self.boundaries.pass(data, largest)?;
        self.received += data.len();
        // The whole length of a message counts as soon as it is announced, because the codec makes room for it then.
        let announced = self.boundaries.announced().min(PREFIX + gathered);
        self.hold(match self.shape {
            // Kept until the answer.
            Shape::Message { .. } => announced.max(self.received),
            // Asked for more, the service has taken over the messages before the one that is not complete.
            Shape::Conversation { .. } => weight(announced) + data.len().min(gathered),
            Shape::Transfer { .. } => announced + data.len().min(gathered),
        })?;
        match self.shape {
            Shape::Message { .. } => {}
            Shape::Transfer { .. } => self.pace.credit(data.len()),
            Shape::Conversation { .. } if self.boundaries.is_between() => self.pace.renew(),
            Shape::Conversation { .. } => {}
        }
        Ok(())
    }

    /// Ready once the sender has been waited for too long.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let end = self.pace.wait(Instant::now());
        self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end))).as_mut().poll(context)
    }

    /// Changes what the ledger holds for this body.
    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        match bytes.checked_sub(self.held) {
            Some(more) => {
                self.ledger.take(more).inspect_err(|_| self.observer.metrics.refuse(Refused::Memory))?;
            }
            None => self.ledger.give_back(self.held - bytes),
        }
        self.held = bytes;
        Ok(())
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.alarm = None;
                self.pace.stop(Instant::now());
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                match data.map_or(Ok(()), |data| self.arrived(data)) {
                    Ok(()) => Poll::Ready(frame),
                    Err(status) => Poll::Ready(Some(Err(status))),
                }
            }
            // Between two messages of a conversation nothing is awaited.
            Poll::Pending
                if matches!(self.shape, Shape::Conversation { .. }) && self.boundaries.is_between() =>
            {
                Poll::Pending
            }
            Poll::Pending => self.poll_alarm(context).map(|()| {
                self.observer.metrics.refuse(Refused::Slow);
                Some(Err(Status::deadline_exceeded(match self.shape {
                    Shape::Message { .. } => "the request did not arrive in time",
                    Shape::Conversation { .. } => "a message was begun and not completed in time",
                    Shape::Transfer { .. } => {
                        "the transfer made no progress for too long, or was slower than 64 KiB per second"
                    }
                })))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Finds where messages begin and end.
#[derive(Debug, Default)]
struct Boundaries {
    prefix: [u8; PREFIX],
    /// Bytes of the current message that have arrived, with its prefix.
    passed: usize,
    /// Length of the current message with its prefix; `None` until the prefix is known.
    length: Option<usize>,
}

impl Boundaries {
    fn is_between(&self) -> bool {
        self.passed == 0
    }

    /// Length of the message that is not complete yet, with its prefix; 0 between two messages.
    fn announced(&self) -> usize {
        self.length.unwrap_or(self.passed)
    }

    /// Follows the messages through `data`. The first that states a length above `largest` is an error.
    fn pass(&mut self, data: &[u8], largest: usize) -> Result<(), Status> {
        let mut rest = data;
        while !rest.is_empty() {
            let end = self.length.unwrap_or(PREFIX);
            let (part, after) = rest.split_at(rest.len().min(end.saturating_sub(self.passed)));
            if self.length.is_none() {
                self.prefix[self.passed..self.passed + part.len()].copy_from_slice(part);
            }
            self.passed += part.len();
            rest = after;
            if self.length.is_none() && self.passed == PREFIX {
                let [_, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length) as usize;
                if length > largest {
                    return Err(Status::out_of_range(format!(
                        "message of {length} bytes, expected at most {largest}"
                    )));
                }
                self.length = Some(PREFIX + length);
            }
            if self.length == Some(self.passed) {
                (self.passed, self.length) = (0, None);
            }
        }
        Ok(())
    }
}

/// How much longer the sender may be waited for.
#[derive(Debug)]
struct Pace {
    patience: Duration,
    left: Duration,
    /// Since when the sender is waited for.
    since: Option<Instant>,
}

impl Pace {
    fn new(patience: Duration) -> Self {
        Self { patience, left: patience, since: None }
    }

    /// The sender is waited for; returns until when.
    fn wait(&mut self, now: Instant) -> Instant {
        *self.since.get_or_insert(now) + self.left
    }

    /// Something arrived. Only the wait for it counts, not the time in which the service had other things to do.
    fn stop(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
    }

    /// Grants the time that so many bytes take at the least rate.
    fn credit(&mut self, bytes: usize) {
        self.left = self.patience.min(self.left + at_least_rate(bytes));
    }

    /// Grants the whole patience again.
    fn renew(&mut self) {
        self.left = self.patience;
    }
}

#[cfg(test)]
mod tests;
