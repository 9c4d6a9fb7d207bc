//! Events that may happen again and again, of which the log gets the first, and then one in a while with their number.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Different events that are told apart. Of further ones, the one that was told longest ago is forgotten.
const KNOWN: usize = 32;

/// Which events were told lately.
#[derive(Debug)]
pub struct Repeated<K> {
    interval: Duration,
    told: HashMap<K, Told>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    since: u64,
}

impl<K: Eq + Hash + Clone> Repeated<K> {
    /// An event is told at most once in `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, told: HashMap::new() }
    }

    /// Notes an event that happens `now`. If it is to be told: how many equal ones were not since the last one that was.
    pub fn admit(&mut self, event: K, now: Instant) -> Option<u64> {
        if let Some(told) = self.told.get_mut(&event) {
            if now.saturating_duration_since(told.at) < self.interval {
                told.since += 1;
                return None;
            }
            return Some(std::mem::replace(told, Told { at: now, since: 0 }).since);
        }
        if self.told.len() >= KNOWN
            && let Some(oldest) =
                self.told.iter().min_by_key(|(_, told)| told.at).map(|(event, _)| event.clone())
        {
            self.told.remove(&oldest);
        }
        self.told.insert(event, Told { at: now, since: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_events_is_told_and_then_one_in_each_interval_with_their_number() {
        let (mut repeated, start) = (Repeated::new(Duration::from_secs(60)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let told: Vec<_> = (0..180).filter_map(|second| repeated.admit("refused", at(second))).collect();
        assert_eq!(told, [0, 59, 59]);
        assert_eq!(repeated.admit("another", at(61)), Some(0), "another event is told at once");
    }

    #[test]
    fn what_is_known_of_events_does_not_grow_with_their_number() {
        let (mut repeated, start) = (Repeated::new(Duration::from_secs(60)), Instant::now());
        for event in 0..1000 {
            let at = start + Duration::from_millis(event);
            assert_eq!(repeated.admit(event, at), Some(0));
        }
        assert_eq!(repeated.told.len(), KNOWN);
        assert_eq!(repeated.admit(999, start + Duration::from_secs(2)), None, "the newest are known");
    }
}
