//! Calls that are refused, and calls that everyone may make. They cost little each, so only many of them harm others.

use std::sync::atomic::{AtomicU32, Ordering};

use governor::RateLimiter;
use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use lookbehind_telemetry::source::Source;

use super::super::limits::STRANGE;

/// After so many calls, sources are forgotten that have not called lately.
const TIDY: u32 = 1024;

/// Limits the rate of such calls from one source.
pub(super) struct Strangers {
    calls: RateLimiter<Source, HashMapStateStore<Source>, DefaultClock>,
    since_tidied: AtomicU32,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { calls: RateLimiter::hashmap(STRANGE.quota()), since_tidied: AtomicU32::new(0) }
    }
}

impl Strangers {
    /// Counts a call; `false` if its source makes too many.
    pub(super) fn may_call(&self, source: Source) -> bool {
        if self.since_tidied.fetch_add(1, Ordering::Relaxed) >= TIDY {
            self.since_tidied.store(0, Ordering::Relaxed);
            // Keeps only sources that have not regained their whole burst.
            self.calls.retain_recent();
        }
        self.calls.check_key(&source).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_source_that_calls_too_often_is_told_from_others_and_forgotten_ones_take_no_memory() {
        let strangers = Strangers::default();
        let source = |number: u32| Source::from(IpAddr::from(number.to_be_bytes()));
        assert!((0..1000).any(|_| !strangers.may_call(source(1))), "more than the burst at once");
        assert!((2..20_000).all(|number| strangers.may_call(source(number))));
        assert!(strangers.calls.len() < 20_000, "{}", strangers.calls.len());
    }
}
