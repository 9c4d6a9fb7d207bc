//! What a connection may do until its caller is known, and afterwards: strangers share a few places, of which none is
//! taken from those whom a service has let in. Of those, no user and no worker's identity can take the places of all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lookbehind_identity::{Identity, Role};
use lookbehind_telemetry::newcomers::{Newcomer, Newcomers};
use lookbehind_telemetry::source::{Share, Shares, Source};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The places for strangers, in addition to those for others: one over this of them.
const STRANGERS: usize = 8;
/// Least number of places for strangers.
const LEAST_STRANGERS: usize = 64;
/// Calls of a stranger over one connection that may be under way.
const CALLS: usize = 8;

/// The part of the places that one user may have: one over this.
const OF_USER: usize = 4;
/// The part that the workers with one certificate or token may have: one over this.
const OF_WORKERS: usize = 2;

/// The places for connections.
pub(super) struct Doors {
    strangers: Arc<Newcomers>,
    known: Arc<Known>,
}

/// The places for connections of known callers.
struct Known {
    most: usize,
    all: Arc<Semaphore>,
    users: Arc<Shares<String>>,
    workers: Arc<Shares<String>>,
}

/// A place among those of known callers.
struct Place {
    _place: OwnedSemaphorePermit,
    _share: Option<Share<String>>,
}

/// All places are taken, or those that the caller may have.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) what: &'static str,
    pub(super) limit: usize,
}

impl Known {
    fn new(most: usize) -> Self {
        let shares = |over: usize| Shares::new(most, (most / over).max(1));
        let all = Arc::new(Semaphore::new(most));
        Self { most, all, users: shares(OF_USER), workers: shares(OF_WORKERS) }
    }

    fn take(&self, caller: Option<&Identity>) -> Result<Place, Full> {
        let share = match caller {
            Some(Identity { name, role: Role::User }) => Some((&self.users, name, "connections of one user")),
            Some(Identity { name, role: Role::Worker }) => {
                Some((&self.workers, name, "connections of workers with one certificate or token"))
            }
            Some(Identity { role: Role::Admin, .. }) | None => None,
        };
        let share =
            share.map(|(shares, name, what)| shares.take(name).ok_or(Full { what, limit: shares.each() }));
        let share = share.transpose()?;
        let place = Arc::clone(&self.all).try_acquire_owned();
        let place = place.map_err(|_| Full { what: "connections", limit: self.most })?;
        Ok(Place { _place: place, _share: share })
    }
}

impl Doors {
    /// Places for `most` connections of known callers. `displaced` is called for each stranger's connection that is
    /// closed to make room for another.
    pub(super) fn new(most: usize, displaced: impl Fn() + Send + Sync + 'static) -> Self {
        let strangers = Newcomers::new((most / STRANGERS).max(LEAST_STRANGERS), displaced);
        Self { strangers, known: Arc::new(Known::new(most)) }
    }

    /// The door of a new connection, which is a stranger's.
    pub(super) fn open(&self, source: Source) -> Door {
        Door {
            stranger: self.strangers.enter(source),
            known: Arc::clone(&self.known),
            admitted: AtomicBool::new(false),
            place: Mutex::default(),
            calls: Arc::new(Semaphore::new(CALLS)),
        }
    }
}

/// The door of one connection.
pub(super) struct Door {
    stranger: Newcomer,
    known: Arc<Known>,
    admitted: AtomicBool,
    place: Mutex<Option<Place>>,
    calls: Arc<Semaphore>,
}

impl Door {
    /// Notes that a call over the connection was authorized. The place counts to the caller of the first such call.
    ///
    /// # Errors
    /// If there are as many such connections as there may be; it stays a stranger's then.
    pub(super) fn admit(&self, caller: Option<&Identity>) -> Result<(), Full> {
        if self.is_admitted() {
            return Ok(());
        }
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = Some(self.known.take(caller)?);
            self.admitted.store(true, Ordering::Relaxed);
            self.stranger.leave();
        }
        Ok(())
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
