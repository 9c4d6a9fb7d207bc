//! Limits on concurrent use of a coordinator. A call beyond a limit fails with RESOURCE_EXHAUSTED; it is not queued,
//! so that memory stays bounded.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tonic::Status;

use crate::state::Caller;

/// Rate of users' calls over one connection: per second, and as a burst.
pub(super) const CALLS: Rate = Rate { per_second: positive(1000), at_once: positive(4000) };
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
}

impl UserLimits {
    pub(super) fn new() -> Self {
        Self {
            watchers: Slots::new("watchers", WATCHERS),
            downloads: Slots::new("downloads", DOWNLOADS),
            uploads: Slots::new("uploads", UPLOADS),
        }
    }
}

#[cfg(test)]
mod tests;
