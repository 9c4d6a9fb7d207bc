//! Limits on concurrent use of a coordinator. A call beyond a limit fails with RESOURCE_EXHAUSTED; it is not queued,
//! so that memory stays bounded.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use lookbehind_proto::v1;
use lookbehind_telemetry::http::unread::Kept;
use lookbehind_telemetry::throttle::{self, Throttle};
use prost::Message as _;
use tonic::{Response, Status};

use crate::state::Caller;

/// Rate of users' calls over one connection: per second, and as a burst.
pub(super) const CALLS: Rate = Rate { per_second: positive(1000), at_once: positive(4000) };
/// Rate of the calls of one user over all connections: per second, and as a burst. Calls beyond it wait.
pub(super) const USER_CALLS: Rate = Rate { per_second: positive(200), at_once: positive(1000) };
/// Rate of the specifications that one user sends, in KiB: per second, and as a burst. Jobs beyond it wait.
pub(super) const SPECIFICATIONS: Rate = Rate { per_second: positive(1024), at_once: positive(8192) };
/// Rate of the connections from one source: per second, and as a burst. Connections beyond it wait for their handshake.
pub(super) const CONNECTIONS: Rate = Rate { per_second: positive(100), at_once: positive(1000) };
/// Rate of calls from one source that are refused or that everyone may make: per second, and as a burst.
pub(super) const STRANGE: Rate = Rate { per_second: positive(100), at_once: positive(200) };
/// Rate of a worker's control messages, which are heartbeats and answers to commands: per second, and as a burst.
const MESSAGES: Rate = Rate { per_second: positive(200), at_once: positive(1000) };
/// Concurrent streams of job events.
const WATCHERS: usize = 1000;
/// Concurrent downloads of model files.
const DOWNLOADS: usize = 64;
/// Concurrent uploads of files.
const UPLOADS: usize = 8;

/// A rate limit: sustained rate and burst.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: NonZeroU32,
    at_once: NonZeroU32,
}

impl Rate {
    pub(super) fn quota(self) -> Quota {
        Quota::per_second(self.per_second).allow_burst(self.at_once)
    }

    pub(super) fn throttle(self) -> throttle::Rate {
        throttle::Rate { per_second: self.per_second, at_once: self.at_once }
    }
}

/// For constants: a value of zero fails to compile.
const fn positive(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => panic!("expected a positive number"),
    }
}

pub(super) fn rate(rate: Rate) -> DefaultDirectRateLimiter {
    RateLimiter::direct(rate.quota())
}

/// A limiter for the control messages of one worker.
pub(super) fn message_rate() -> DefaultDirectRateLimiter {
    rate(MESSAGES)
}

pub(super) fn exhausted(what: &str, limit: usize) -> Status {
    Status::resource_exhausted(format!("{what}: the limit of {limit} is reached; try again later"))
}

/// Slots for calls of one kind that users share. One user gets at most a quarter of them, and administrators have as many
/// again for themselves, so that an administrator is always let in.
#[derive(Debug)]
pub(super) struct Slots {
    what: &'static str,
    limit: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    users: usize,
    admins: usize,
    /// By the name of the user; only users with a slot.
    by_user: BTreeMap<String, usize>,
}

/// A slot that becomes free when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    caller: Caller,
}

impl Slot {
    /// The response with an answer that keeps the slot until its last byte has left: what makes the answer has ended long
    /// before it was read if it is small.
    pub(super) fn kept_by<T>(self, answer: T) -> Response<T> {
        let mut response = Response::new(answer);
        response.extensions_mut().insert(Kept::new(self));
        response
    }
}

impl Slots {
    fn new(what: &'static str, limit: usize) -> Arc<Self> {
        Arc::new(Self { what, limit, used: Mutex::default() })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot.
    pub(super) fn take(self: &Arc<Self>, caller: &Caller) -> Result<Slot, Status> {
        let share = (self.limit / 4).max(1);
        let mut used = self.used();
        match caller {
            Caller::Admin(_) if used.admins < self.limit => used.admins += 1,
            Caller::Anyone if used.users < self.limit => used.users += 1,
            Caller::User(name) if used.users < self.limit => {
                let own = used.by_user.entry(name.clone()).or_default();
                if *own >= share {
                    return Err(exhausted(&format!("{} of one user", self.what), share));
                }
                *own += 1;
                used.users += 1;
            }
            Caller::Admin(_) | Caller::Anyone | Caller::User(_) => {
                return Err(exhausted(self.what, self.limit));
            }
        }
        drop(used);
        Ok(Slot { slots: Arc::clone(self), caller: caller.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.slots.used();
        match &self.caller {
            Caller::Admin(_) => used.admins -= 1,
            Caller::Anyone => used.users -= 1,
            Caller::User(name) => {
                used.users -= 1;
                if let Some(own) = used.by_user.get_mut(name) {
                    *own -= 1;
                    if *own == 0 {
                        used.by_user.remove(name);
                    }
                }
            }
        }
    }
}

/// The slots of users.
#[derive(Debug)]
pub(super) struct UserLimits {
    /// For streams of job events.
    pub(super) watchers: Arc<Slots>,
    /// For downloads of model files.
    pub(super) downloads: Arc<Slots>,
    /// For uploads of files.
    pub(super) uploads: Arc<Slots>,
    /// The specifications of each user, in KiB.
    specifications: Throttle<String>,
}

impl UserLimits {
    /// A job waits for at most `longest_wait` if its user sends too many.
    pub(super) fn new(longest_wait: Duration) -> Self {
        Self {
            specifications: Throttle::new(SPECIFICATIONS.throttle(), longest_wait),
            watchers: Slots::new("watchers", WATCHERS),
            downloads: Slots::new("downloads", DOWNLOADS),
            uploads: Slots::new("uploads", UPLOADS),
        }
    }

    /// Waits until a caller may send a specification. Checking and storing a large one costs as much as many calls.
    pub(super) async fn pace_specification(&self, caller: &Caller, spec: &v1::JobSpec) -> Result<(), Status> {
        let Caller::User(name) = caller else { return Ok(()) };
        let kib = spec.encoded_len().div_ceil(1 << 10).try_into().unwrap_or(u32::MAX);
        let passed = self.specifications.pass(name, kib).await;
        let most = SPECIFICATIONS.per_second.get() as usize;
        passed.map_err(|_| exhausted("KiB of specifications per second of one user", most))
    }
}

#[cfg(test)]
mod tests;
