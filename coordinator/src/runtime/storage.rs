//! Whether the state can be stored, for the threads that store it and for everyone who has to know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::observe::{DegradedMode, Observer};
use crate::state::StorageFailure;
use crate::store::{Store, StoreError};

/// How often it is tried whether there is room again. Each attempt writes what room there is.
const RETRY: Duration = Duration::from_secs(1);

/// The standing of the disk. Clones share it.
#[derive(Clone)]
pub(super) struct Storage {
    store: Arc<Store>,
    observer: Arc<Observer>,
    failure: Arc<watch::Sender<Option<StorageFailure>>>,
}

impl Storage {
    pub(super) fn new(store: Arc<Store>, observer: Arc<Observer>) -> Self {
        let storage = Self { store, observer, failure: Arc::default() };
        storage.publish();
        storage
    }

    /// A receiver of the failure, if there is one, and of all changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<StorageFailure>> {
        self.failure.subscribe()
    }

    /// Why the state cannot be stored; `None` while it can.
    pub(super) fn failure(&self) -> Option<StorageFailure> {
        self.failure.borrow().clone()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Notes that something could not be written.
    pub(super) fn failed(&self, error: &StoreError) {
        self.store.note_failure(error);
        self.publish();
    }

    /// Tells everyone of a change: once when the state cannot be stored any more, and once when it can be again.
    pub(super) fn publish(&self) {
        let found = self.store.failure();
        // With the value locked, so that two threads tell of changes in their order.
        self.failure.send_if_modified(|known| {
            let changed = known.is_some() != found.is_some();
            if changed {
                let reason = found.as_ref().map(ToString::to_string);
                self.observer.set_degraded(DegradedMode::Storage, reason);
                known.clone_from(&found);
            }
            changed
        });
    }
}

/// Attempts to store again after a failure.
pub(super) struct Attempts {
    storage: Storage,
    last: Instant,
}

impl Attempts {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, last: Instant::now() }
    }

    /// Whether there is room again, if it is time for another attempt.
    pub(super) fn succeed(&mut self) -> bool {
        if !self.storage.is_failing() || self.last.elapsed() < RETRY {
            return false;
        }
        self.last = Instant::now();
        self.storage.store.renew_reserve().is_ok()
    }
}
