//! What a connection may do until its caller is known, and afterwards: strangers share a few places, of which none is
//! taken from those whom a service has let in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lookbehind_telemetry::newcomers::{Newcomer, Newcomers};
use lookbehind_telemetry::source::Source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The places for strangers, in addition to those for others: one over this of them.
const STRANGERS: usize = 8;
/// Least number of places for strangers.
const LEAST_STRANGERS: usize = 64;
/// Calls of a stranger over one connection that may be under way.
const CALLS: usize = 8;

/// The places for connections.
pub(super) struct Doors {
    strangers: Arc<Newcomers>,
    known: Arc<Semaphore>,
    most: usize,
}

impl Doors {
    /// Places for `most` connections of known callers. `displaced` is called for each stranger's connection that is
    /// closed to make room for another.
    pub(super) fn new(most: usize, displaced: impl Fn() + Send + Sync + 'static) -> Self {
        let strangers = Newcomers::new((most / STRANGERS).max(LEAST_STRANGERS), displaced);
        Self { strangers, known: Arc::new(Semaphore::new(most)), most }
    }

    /// The door of a new connection, which is a stranger's.
    pub(super) fn open(&self, source: Source) -> Door {
        Door {
            stranger: self.strangers.enter(source),
            known: Arc::clone(&self.known),
            most: self.most,
            admitted: AtomicBool::new(false),
            place: Mutex::default(),
            calls: Arc::new(Semaphore::new(CALLS)),
        }
    }
}

/// The door of one connection.
pub(super) struct Door {
    stranger: Newcomer,
    known: Arc<Semaphore>,
    /// Number of places for known callers.
    pub(super) most: usize,
    admitted: AtomicBool,
    /// The place among those of known callers.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    calls: Arc<Semaphore>,
}

impl Door {
    /// Notes that a call over the connection was authorized. `false` if there are as many such connections as there may
    /// be; it stays a stranger's then.
    pub(super) fn admit(&self) -> bool {
        if self.is_admitted() {
            return true;
        }
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            let Ok(free) = Arc::clone(&self.known).try_acquire_owned() else { return false };
            *place = Some(free);
            self.admitted.store(true, Ordering::Relaxed);
            self.stranger.leave();
        }
        true
    }

    /// Whether a call has been authorized.
    pub(super) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Begins a call of a caller who is not known; `None` if too many are under way.
    pub(super) fn call(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.calls).try_acquire_owned().ok()
    }

    /// Where the connection comes from.
    pub(super) fn source(&self) -> Source {
        self.stranger.source()
    }

    /// Is cancelled when the connection has to be closed.
    pub(super) fn closing(&self) -> &CancellationToken {
        self.stranger.closing()
    }

    /// Gives the places back. Calls may still hold the door when its connection has ended.
    pub(super) fn close(&self) {
        self.stranger.leave();
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Door").field("source", &self.source()).finish_non_exhaustive()
    }
}
