//! Which owner gets how many blocks: as much as its links carry, so that all ranges take the same time.

use std::time::Duration;

use lookbehind_common::blocks::{BlockRange, Blocks};
use lookbehind_common::ids::SessionId;

use super::Exchange;
use crate::state::measured::median;

/// A range that takes longer than others by less than this does not say that its owner's links are slow.
const NOTICEABLE: Duration = Duration::from_millis(20);
/// Nor does one that takes less than this many times as long.
const EQUAL: f64 = 1.25;

/// Divides all blocks into ranges in proportion to the owners' shares. An owner whose range would be empty has none.
pub(super) fn divide(blocks: &Blocks, owners: &[(SessionId, f64)]) -> Vec<(BlockRange, SessionId)> {
    let total: f64 = owners.iter().map(|(_, share)| share).sum();
    let (count, last) = (blocks.count(), owners.len().saturating_sub(1));
    let (mut first, mut reached) = (0, 0.0);
    let range = |(index, (owner, share)): (usize, &(SessionId, f64))| {
        reached += share;
        let end = (f64::from(count) * reached / total).round() as u32;
        let end = if index == last { count } else { end.clamp(first, count) };
        let range = BlockRange::new(first, end);
        first = end;
        range.map(|range| (range, *owner))
    };
    owners.iter().enumerate().filter_map(range).collect()
}

impl Exchange {
    /// The workers that own ranges.
    pub(crate) fn owners(&self) -> Vec<SessionId> {
        self.ranges.iter().filter_map(|range| range.owner).collect()
    }

    /// The most partials that a worker was asked for.
    pub(crate) fn most_partials(&self) -> u32 {
        let of = |session| self.makers.iter().filter(|(_, maker)| *maker == session).count();
        self.makers.iter().map(|(_, maker)| of(*maker)).max().unwrap_or(0) as u32
    }

    /// Notes which ranges are settled by now.
    pub(crate) fn note_settled(&mut self, now: Duration) {
        for range in self.ranges.iter_mut().filter(|range| range.is_settled) {
            range.settled_at.get_or_insert(now);
        }
    }

    /// How many times as long as the ranges of others that of each owner took since all shards had been announced.
    pub(crate) fn range_factors(&self) -> Vec<(SessionId, f64)> {
        let Some(begun) = self.announced_at else { return Vec::new() };
        let times = self.ranges.iter().filter_map(|range| {
            let took = range.settled_at?.saturating_sub(begun).as_secs_f64();
            Some((range.owner?, took))
        });
        let times: Vec<(SessionId, f64)> = times.collect();
        let Some(usual) = median(times.iter().map(|(_, seconds)| *seconds)) else { return Vec::new() };
        let factor = |(session, seconds): (SessionId, f64)| {
            let is_equal = (seconds - usual).abs() < NOTICEABLE.as_secs_f64()
                || (seconds < usual * EQUAL && usual < seconds * EQUAL);
            (session, if is_equal { 1.0 } else { seconds / usual })
        };
        times.into_iter().map(factor).collect()
    }
}

#[cfg(test)]
mod tests {
    use lookbehind_common::model_state::ModelState;

    use super::*;

    #[test]
    fn ranges_follow_the_owners_shares_and_cover_all_blocks() {
        let blocks = Blocks::of_size(ModelState { parameters: 95, statistics: 5 }, 1);
        let [a, b, c] = [1, 2, 3].map(SessionId);
        let counts = |owners: &[(SessionId, f64)]| {
            let ranges = divide(&blocks, owners);
            assert!(ranges.windows(2).all(|pair| pair[0].0.end == pair[1].0.first), "{ranges:?}");
            assert_eq!((ranges[0].0.first, ranges[ranges.len() - 1].0.end), (0, 100), "{ranges:?}");
            Vec::from_iter(ranges.into_iter().map(|(range, owner)| (owner, range.count())))
        };
        assert_eq!(counts(&[(a, 1.0), (b, 1.0)]), [(a, 50), (b, 50)]);
        assert_eq!(counts(&[(a, 1.0), (b, 0.5), (c, 1.0)]), [(a, 40), (b, 20), (c, 40)]);
        assert_eq!(counts(&[(a, 1.0), (b, 0.001), (c, 1.0)]), [(a, 50), (c, 50)], "a range may be empty");
    }
}
