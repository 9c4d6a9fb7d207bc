//! Downloads of one version of a job's weights take turns. One after the other, they take as long together as side by
//! side, but the first worker has its weights much sooner, and what it computes and sends overlaps the downloads of the
//! others: on a link with the same rate in both directions, an exchange with W workers takes the time of W + 1 transfers
//! instead of 2W.
//!
//! No download can keep its turn for long: the turn passes on when it has handed over all its bytes, when its caller goes
//! away, and when it takes much longer than earlier downloads took. It then goes on beside the next ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

/// A download keeps its turn for at most this many times what an earlier one of the job took.
const PATIENCE: u32 = 3;

/// How long a download of a job's weights takes while it has the turn; `None` before the first one has ended. Clones
/// share it, since all versions of a job's weights have the same size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<Mutex<Option<Duration>>>);

impl Pace {
    /// How long a download may keep its turn, if `unmeasured` is the limit as long as nothing is known.
    fn limit(&self, unmeasured: Duration) -> Duration {
        let measured = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        measured.map_or(unmeasured, |measured| measured.saturating_mul(PATIENCE))
    }

    /// A download has ended. If it took longer than its turn, it shared the link, and may have had a slow one: it raises
    /// the expectation at most twofold, so that one worker on a slow link does not set the pace, but a network that has
    /// become slower for all is believed after a few downloads.
    fn note(&self, took: Duration, limit: Duration) {
        let mut measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *measured = Some(match *measured {
            Some(earlier) if took > limit => took.min(earlier.saturating_mul(2)),
            _ => took,
        });
    }
}

/// The turns of one version of a job's weights.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Its one permit is the turn; it is handed out in the order of asking.
    turn: Arc<Semaphore>,
    pace: Pace,
}

impl Turns {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), pace }
    }

    /// Waits for the turn. It lasts at most `unmeasured` if no download of the job has been measured yet.
    pub(crate) async fn take(&self, unmeasured: Duration) -> Turn {
        let permit = Arc::clone(&self.turn).acquire_owned().await;
        let (pace, limit) = (self.pace.clone(), self.pace.limit(unmeasured));
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            // The turn ends when `end` is dropped, or when the time is up.
            let _ = tokio::time::timeout(limit, ended).await;
            drop(permit);
        });
        Turn { pace, limit, begun: Instant::now(), _end: end }
    }
}

/// The turn of one download, which passes on at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    pace: Pace,
    limit: Duration,
    begun: Instant,
    _end: oneshot::Sender<()>,
}

impl Turn {
    /// The download has handed over all its bytes.
    pub(crate) fn complete(self) {
        self.pace.note(self.begun.elapsed(), self.limit);
    }
}

#[cfg(test)]
mod tests;
