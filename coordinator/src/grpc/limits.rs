//! What one coordinator takes at a time. Beyond a limit callers get RESOURCE_EXHAUSTED; nothing grows.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Users' calls over one connection in a second, and at once.
pub(super) const CALLS: Rate = Rate { per_second: positive(1000), at_once: positive(4000) };
/// Control messages of a worker in a second, and at once: it beats, and answers what it is asked.
const MESSAGES: Rate = Rate { per_second: positive(200), at_once: positive(1000) };
/// Jobs that are watched at a time.
const WATCHERS: usize = 1000;
/// Model files that are sent at a time.
const DOWNLOADS: usize = 64;
/// Files that are received at a time.
const UPLOADS: usize = 4;

/// How much may come in a second, and at once.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: NonZeroU32,
    at_once: NonZeroU32,
}

/// For constants: what is not positive does not compile.
const fn positive(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => panic!("expected a positive number"),
    }
}

pub(super) fn rate(rate: Rate) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(rate.per_second).allow_burst(rate.at_once))
}

/// The rate of one worker's messages.
pub(super) fn message_rate() -> DefaultDirectRateLimiter {
    rate(MESSAGES)
}

/// What users share.
#[derive(Clone)]
pub(super) struct UserLimits {
    watchers: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

/// A place that is free again when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

fn place(places: &Arc<Semaphore>, what: &str, limit: usize) -> Result<Place, Status> {
    Arc::clone(places).try_acquire_owned().map_err(|_| exhausted(what, limit))
}

pub(super) fn exhausted(what: &str, limit: usize) -> Status {
    Status::resource_exhausted(format!("{what}: the limit of {limit} is reached; try again later"))
}

impl UserLimits {
    pub(super) fn new() -> Self {
        Self {
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
        }
    }

    pub(super) fn watcher(&self) -> Result<Place, Status> {
        place(&self.watchers, "watchers", WATCHERS)
    }

    pub(super) fn download(&self) -> Result<Place, Status> {
        place(&self.downloads, "downloads", DOWNLOADS)
    }

    pub(super) fn upload(&self) -> Result<Place, Status> {
        place(&self.uploads, "uploads", UPLOADS)
    }
}
