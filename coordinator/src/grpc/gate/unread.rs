//! Answers that their caller does not read. A stream without a limit would keep its slot, its file and its buffers for
//! as long as the connection stays open.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::at_least_rate;

/// Ends an answer whose caller stops reading for `patience`, or reads more slowly than the least rate.
pub(super) fn limited(body: Body, patience: Duration) -> Body {
    let open = Open { body, take_until: Some(Instant::now() + patience) };
    let answer = Arc::new(Mutex::new(Some(open)));
    tokio::spawn(watch(Arc::downgrade(&answer), patience));
    Body::new(Answer { open: answer, patience })
}

/// A body that is still being sent.
struct Open {
    body: Body,
    /// When the connection must have asked for the next part; `None` while the service is waited for.
    take_until: Option<Instant>,
}

impl Open {
    /// Notes that the connection was given a part, or has to wait for one.
    fn note(&mut self, part: &Poll<Option<Result<Frame<Bytes>, Status>>>, now: Instant, patience: Duration) {
        self.take_until = match part {
            Poll::Ready(Some(Ok(frame))) => {
                // The connection asks for the next part only when this one has nearly left.
                let length = frame.data_ref().map_or(0, Bytes::len);
                Some(now + patience + at_least_rate(length))
            }
            Poll::Ready(_) => Some(now + patience),
            Poll::Pending => None,
        };
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.take_until.is_some_and(|until| until <= now)
    }
}

/// The body as the connection sees it.
struct Answer {
    /// `None` after the answer was ended because it was not read.
    open: Arc<Mutex<Option<Open>>>,
    patience: Duration,
}

/// Waits for the end of the answer, and ends it if it is not read.
async fn watch(answer: Weak<Mutex<Option<Open>>>, patience: Duration) {
    loop {
        let Some(answer) = answer.upgrade() else { return };
        let next = {
            let mut held = answer.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(open) = held.as_ref() else { return };
            let now = Instant::now();
            if open.is_overdue(now) {
                // Its slot and its memory are free from here on, although the connection still holds the call.
                *held = None;
                return;
            }
            open.take_until.unwrap_or(now + patience)
        };
        drop(answer);
        tokio::time::sleep_until(next).await;
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let patience = self.patience;
        let mut held = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = held.as_mut() else {
            let status = Status::deadline_exceeded("the answer was not read for too long");
            return Poll::Ready(Some(Err(status)));
        };
        let frame = Pin::new(&mut open.body).poll_frame(context);
        open.note(&frame, Instant::now(), patience);
        frame
    }

    fn is_end_stream(&self) -> bool {
        let held = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|open| open.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map_or_else(SizeHint::default, |open| open.body.size_hint())
    }
}

#[cfg(test)]
mod tests;
