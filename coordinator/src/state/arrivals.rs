//! How often workers may register: each registration costs lines in the log, notices and a load of a job's data.

use std::collections::BTreeMap;
use std::time::Duration;

use super::parties::Account;

/// Registrations at once that an account may make at least.
const BURST: usize = 32;
/// Number of accounts that are counted at the same time. Only those count that have registered lately.
const COUNTED: usize = 4096;

/// A token bucket of each account that has registered lately. One token is added each second.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(BTreeMap<Account, Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Registrations that were made and are not forgiven yet, in seconds.
    used: Duration,
    at: Duration,
}

impl Bucket {
    fn used(&self, now: Duration) -> Duration {
        self.used.saturating_sub(now.saturating_sub(self.at))
    }
}

impl Arrivals {
    /// Whether an account may try to register now. `workers`: the number of workers that it may have; all of them may
    /// come at once, as after a restart of the coordinator.
    pub(crate) fn admit(&mut self, account: Account, workers: usize, now: Duration) -> bool {
        const ONE: Duration = Duration::from_secs(1);
        if self.0.len() >= COUNTED {
            self.0.retain(|_, bucket| !bucket.used(now).is_zero());
        }
        if self.0.len() >= COUNTED && !self.0.contains_key(&account) {
            return false;
        }
        let bucket = self.0.entry(account).or_insert(Bucket { used: Duration::ZERO, at: now });
        let used = bucket.used(now);
        let burst = ONE * workers.max(BURST) as u32;
        if used + ONE > burst {
            return false;
        }
        *bucket = Bucket { used: used + ONE, at: now };
        true
    }
}

#[cfg(test)]
mod tests;
