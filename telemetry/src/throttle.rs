//! Rates that make callers wait. Who asks too fast is answered later, so that a loop of calls goes no faster than its rate
//! and costs others no more than that. A refusal comes after the longest wait, so that nothing is gained by being refused.
//!
//! Limiters of crates refuse, or let callers try again when there may be room; here each caller gets a time of its own,
//! once and in the order of asking, and nobody wakes in vain.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Number of keys from which on those are forgotten that have not asked lately.
const TIDY: usize = 1024;

/// How much may be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// Without waiting, after a pause.
    pub at_once: NonZeroU32,
}

/// Limits the rate of each of many callers, who are told apart by a key.
#[derive(Debug)]
pub struct Throttle<K> {
    rate: Rate,
    /// Nobody waits for longer than this.
    longest: Duration,
    begun: Instant,
    due: Mutex<Due<K>>,
}

#[derive(Debug)]
struct Due<K> {
    /// When all that a caller has asked for will be earned at the sustained rate, as time since the start. Callers who are
    /// not in it have asked for nothing lately.
    by_key: HashMap<K, Duration>,
    tidy_at: usize,
}

/// More is asked for than the rate allows even with waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {per_second} per second is exceeded")]
pub struct TooFast {
    /// The sustained rate.
    pub per_second: NonZeroU32,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    /// Callers wait for at most `longest`.
    #[must_use]
    pub fn new(rate: Rate, longest: Duration) -> Self {
        let due = Due { by_key: HashMap::new(), tidy_at: TIDY };
        Self { rate, longest, begun: Instant::now(), due: Mutex::new(due) }
    }

    /// Counts `amount` to a caller and waits until it is its turn.
    ///
    /// # Errors
    /// After the longest wait, if more is asked for than that; nothing is counted then.
    pub async fn pass(&self, key: &K, amount: u32) -> Result<(), TooFast> {
        match self.count(key, amount, self.begun.elapsed()) {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(refused) => {
                tokio::time::sleep(self.longest).await;
                Err(refused)
            }
        }
    }

    /// Counts `amount` at a time since the start, and returns how long the caller has to wait. An amount beyond what may
    /// be asked for at once counts as that.
    fn count(&self, key: &K, amount: u32, now: Duration) -> Result<Duration, TooFast> {
        let Rate { per_second, at_once } = self.rate;
        let earned = |amount: u32| Duration::from_secs(1) * amount / per_second.get();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.tidy(now);
        let before = due.by_key.get(key).copied().unwrap_or_default().max(now);
        let after = before + earned(amount.min(at_once.get()));
        let wait = (after - now).saturating_sub(earned(at_once.get()));
        if wait > self.longest {
            return Err(TooFast { per_second });
        }
        due.by_key.insert(key.clone(), after);
        Ok(wait)
    }
}

impl<K: Eq + Hash> Due<K> {
    /// Forgets who has asked for nothing lately, each time that there are twice as many as remained.
    fn tidy(&mut self, now: Duration) {
        if self.by_key.len() >= self.tidy_at {
            self.by_key.retain(|_, due| *due > now);
            self.tidy_at = (2 * self.by_key.len()).max(TIDY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Ten per second, twenty at once, and a wait of at most `longest`.
    fn throttle(longest: Duration) -> Throttle<u32> {
        let [per_second, at_once] = [10, 20].map(|number| NonZeroU32::new(number).unwrap());
        Throttle::new(Rate { per_second, at_once }, longest)
    }

    #[test]
    fn a_burst_passes_at_once_and_what_follows_at_the_rate() {
        let throttle = throttle(SECOND);
        let waits: Vec<_> = (0..30).map(|_| throttle.count(&1, 1, SECOND).unwrap()).collect();
        assert!(waits[..20].iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!((waits[20], waits[29]), (SECOND / 10, SECOND));
        assert!(throttle.count(&1, 1, SECOND).is_err());
        assert_eq!(throttle.count(&2, 20, SECOND), Ok(Duration::ZERO), "others do not wait");
        assert_eq!(throttle.count(&1, 1, 2 * SECOND), Ok(SECOND / 10), "what was refused was not counted");
        assert_eq!(throttle.count(&1, 20, 9 * SECOND), Ok(Duration::ZERO), "after a pause, a burst again");
    }

    #[test]
    fn an_amount_beyond_the_burst_passes_as_the_burst() {
        assert_eq!(throttle(SECOND).count(&1, u32::MAX, SECOND), Ok(Duration::ZERO));
    }

    #[tokio::test]
    async fn who_is_refused_has_waited_as_long_as_who_is_let_in() {
        let throttle = throttle(Duration::from_millis(200));
        throttle.pass(&1, 20).await.unwrap();
        let begun = Instant::now();
        let refused = throttle.pass(&1, 10).await.unwrap_err();
        assert_eq!(refused.to_string(), "the limit of 10 per second is exceeded");
        assert!(begun.elapsed() >= throttle.longest);
        throttle.pass(&1, 1).await.unwrap();
    }

    #[test]
    fn callers_who_have_not_asked_lately_take_no_memory() {
        let throttle = throttle(SECOND);
        for key in 0..50_000 {
            throttle.count(&key, 1, key * SECOND / 1000).unwrap();
        }
        let kept = throttle.due.lock().unwrap().by_key.len();
        assert!(kept <= TIDY, "{kept}");
    }
}
