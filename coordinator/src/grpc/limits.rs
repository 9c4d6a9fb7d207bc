//! Limits on concurrent use of a coordinator. A call beyond a limit fails with RESOURCE_EXHAUSTED; it is not queued,
//! so that memory stays bounded.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Rate of users' calls over one connection: per second, and as a burst.
pub(super) const CALLS: Rate = Rate { per_second: positive(1000), at_once: positive(4000) };
/// Rate of a worker's control messages, which are heartbeats and answers to commands: per second, and as a burst.
const MESSAGES: Rate = Rate { per_second: positive(200), at_once: positive(1000) };
/// Concurrent streams of job events.
const WATCHERS: usize = 1000;
/// Concurrent downloads of model files.
const DOWNLOADS: usize = 64;
/// Concurrent uploads of files.
const UPLOADS: usize = 4;

/// A rate limit: sustained rate and burst.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: NonZeroU32,
    at_once: NonZeroU32,
}

/// For constants: a value of zero fails to compile.
const fn positive(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => panic!("expected a positive number"),
    }
}

pub(super) fn rate(rate: Rate) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(rate.per_second).allow_burst(rate.at_once))
}

/// A limiter for the control messages of one worker.
pub(super) fn message_rate() -> DefaultDirectRateLimiter {
    rate(MESSAGES)
}

/// Limits that all users share.
#[derive(Clone)]
pub(super) struct UserLimits {
    watchers: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

/// A slot that becomes free when it is dropped.
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
