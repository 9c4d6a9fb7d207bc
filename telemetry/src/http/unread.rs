//! Answers that their caller does not read. One without a limit would keep its slot, its file and its buffers for as long
//! as the connection stays open.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Least rate of a transfer in bytes per second, on average over the patience: far below any line on which training makes
/// sense, and enough that no transfer is held open with a few bytes now and then.
const LEAST_RATE: f64 = 64.0 * 1024.0;

/// How long so many bytes take at the least rate.
#[must_use]
pub fn at_least_rate(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / LEAST_RATE)
}

/// Ends an answer whose caller stops reading for `patience`, or reads more slowly than the least rate. `kept` is dropped
/// when the last byte has left, or the answer is ended. Then `closing` is cancelled as well, which must close the
/// connection: it holds parts of the answer for as long as its client leaves the call open. `unread` makes the error with
/// which the answer ends.
pub fn limited<B, K>(
    body: B,
    kept: K,
    patience: Duration,
    closing: CancellationToken,
    unread: fn() -> B::Error,
) -> Limited<B, K>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    K: Send + 'static,
{
    let open = Open { body, _kept: kept, left: patience, take_until: Some(Instant::now() + patience) };
    let answer = Arc::new(Answer { open: Mutex::new(Some(open)), watch: OnceLock::new() });
    let watch = tokio::spawn(watch(Arc::downgrade(&answer), patience, closing));
    // It was not set before.
    let _ = answer.watch.set(watch.abort_handle());
    Limited { answer, patience, unread }
}

/// What an answer keeps until its last byte has left, where only the maker of the answer knows of it: an extension of the
/// response, which whoever limits the answer takes out.
#[derive(Clone)]
pub struct Kept {
    _kept: Arc<dyn Send + Sync>,
}

impl Kept {
    /// Keeps something.
    pub fn new(kept: impl Send + Sync + 'static) -> Self {
        Self { _kept: Arc::new(kept) }
    }
}

/// An answer until its last byte has left: the body and all parts of it that the connection holds share this.
struct Answer<B, K> {
    /// `None` after the answer was ended because it was not read.
    open: Mutex<Option<Open<B, K>>>,
    watch: OnceLock<AbortHandle>,
}

impl<B, K> Answer<B, K> {
    fn lock(&self) -> MutexGuard<'_, Option<Open<B, K>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B, K> Drop for Answer<B, K> {
    fn drop(&mut self) {
        // Otherwise many short answers would leave as many waiting tasks behind.
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
    }
}

/// A part of an answer that the connection was given, and that has not left yet.
struct Part {
    data: Bytes,
    _answer: Arc<dyn Send + Sync>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// A body that is still being sent.
struct Open<B, K> {
    body: B,
    _kept: K,
    /// How much longer the client may be waited for, on top of the time that what it was given takes at the least rate.
    left: Duration,
    /// When the connection must have asked for the next part; `None` while the service is waited for.
    take_until: Option<Instant>,
}

impl<B: Body<Data = Bytes>, K> Open<B, K> {
    /// Notes that the connection was given a part, or has to wait for one.
    fn note(
        &mut self,
        part: &Poll<Option<Result<Frame<Bytes>, B::Error>>>,
        now: Instant,
        patience: Duration,
    ) {
        if let Some(until) = self.take_until {
            self.left = patience.min(until.saturating_duration_since(now));
        }
        self.take_until = match part {
            Poll::Ready(Some(Ok(frame))) => {
                // The connection asks for the next part only when this one has nearly left.
                let length = frame.data_ref().map_or(0, Bytes::len);
                Some(now + self.left + at_least_rate(length))
            }
            Poll::Ready(_) => Some(now + patience),
            // The client has taken all that there was.
            Poll::Pending => {
                self.left = patience;
                None
            }
        };
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.take_until.is_some_and(|until| until <= now)
    }
}

/// The body as the connection sees it.
pub struct Limited<B: Body, K> {
    answer: Arc<Answer<B, K>>,
    patience: Duration,
    unread: fn() -> B::Error,
}

/// Waits for the end of the answer, and ends it if it is not read.
async fn watch<B: Body<Data = Bytes>, K>(
    answer: Weak<Answer<B, K>>,
    patience: Duration,
    closing: CancellationToken,
) {
    loop {
        let Some(answer) = answer.upgrade() else { return };
        let next = {
            let mut held = answer.lock();
            let Some(open) = held.as_ref() else { return };
            let now = Instant::now();
            if open.is_overdue(now) {
                *held = None;
                closing.cancel();
                return;
            }
            open.take_until.unwrap_or(now + patience)
        };
        drop(answer);
        tokio::time::sleep_until(next).await;
    }
}

impl<B, K> Body for Limited<B, K>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    K: Send + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = {
            let mut held = self.answer.lock();
            let Some(open) = held.as_mut() else { return Poll::Ready(Some(Err((self.unread)()))) };
            let frame = Pin::new(&mut open.body).poll_frame(context);
            open.note(&frame, Instant::now(), self.patience);
            frame
        };
        let part = |data| Bytes::from_owner(Part { data, _answer: Arc::clone(&self.answer) as _ });
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.lock().as_ref().is_some_and(|open| open.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.lock().as_ref().map_or_else(SizeHint::default, |open| open.body.size_hint())
    }
}

#[cfg(test)]
mod tests;
