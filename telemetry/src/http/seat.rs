//! The room that connections take: little for those that wait for a whole request, which are closed for others if need
//! be, and a seat for those with a request that is being answered.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{Limits, Observer};
use crate::newcomers::{Newcomer, Newcomers};
use crate::source::{Share, Shares, Source};

/// The part of the connections that may wait for a whole request, in addition to the others: one over this.
const WAITING: usize = 8;
/// Least number of connections that may wait.
const LEAST_WAITING: usize = 64;
/// The part of the connections that one source may have: one over this.
const SHARES: usize = 4;

/// The room of a server.
pub(super) struct Rooms {
    waiting: Arc<Newcomers>,
    seats: Arc<Shares<Source>>,
    observer: Arc<dyn Observer>,
}

/// The room of one connection.
pub(super) struct Seat {
    newcomer: Newcomer,
    seats: Arc<Shares<Source>>,
    observer: Arc<dyn Observer>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Requests that are being answered.
    requests: usize,
    /// There is one if there are any.
    share: Option<Share<Source>>,
}

/// A request that is being answered; its connection is not closed for others.
pub(super) struct Seated(Arc<Seat>);

impl Rooms {
    pub(super) fn new(limits: &Limits, observer: &Arc<dyn Observer>) -> Self {
        let counted = Arc::clone(observer);
        let waiting = (limits.connections / WAITING).max(LEAST_WAITING);
        Self {
            waiting: Newcomers::new(waiting, move || counted.refused()),
            seats: Shares::new(limits.connections, (limits.connections / SHARES).max(1)),
            observer: Arc::clone(observer),
        }
    }

    /// The room of a new connection.
    pub(super) fn enter(&self, source: Source) -> Arc<Seat> {
        Arc::new(Seat {
            newcomer: self.waiting.enter(source),
            seats: Arc::clone(&self.seats),
            observer: Arc::clone(&self.observer),
            taken: Mutex::default(),
        })
    }
}

impl Seat {
    /// Waits until the connection has to be closed: for another one, or because an answer is not read.
    pub(super) async fn closing(&self) {
        self.newcomer.closing().cancelled().await;
    }

    /// Closes the connection when it is cancelled.
    pub(super) fn close(&self) -> CancellationToken {
        self.newcomer.closing().clone()
    }

    /// Begins to answer a request; `None` if there is no seat.
    pub(super) fn sit(self: &Arc<Self>) -> Option<Seated> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.share.is_none() {
            let Some(share) = self.seats.take(&self.newcomer.source()) else {
                self.observer.refused();
                return None;
            };
            taken.share = Some(share);
            self.newcomer.leave();
        }
        taken.requests += 1;
        Some(Seated(Arc::clone(self)))
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.requests -= 1;
        if taken.requests == 0 {
            taken.share = None;
            self.0.newcomer.enter();
        }
    }
}
