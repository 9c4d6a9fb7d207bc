//! The only source of randomness of a schedule: everything follows from its seed.

use lookbehind_common::random::{Key, Purpose, Stream};

/// Virtual time in microseconds, since the beginning of the schedule.
pub(crate) type Micros = u64;

/// Milliseconds as virtual time.
pub(crate) const fn millis(count: u64) -> Micros {
    count * 1000
}

/// Seconds as virtual time.
pub(crate) const fn seconds(count: u64) -> Micros {
    count * 1_000_000
}

/// Keyed random choices.
pub(crate) struct Dice(Stream);

impl Dice {
    /// The choices of one schedule. Jobs, faults and everything else have a `part` each, so that one part does not
    /// change when another draws more.
    pub(crate) fn new(seed: u64, part: u32) -> Self {
        Self(Key { layer: part, ..Key::new(seed, Purpose::Probe) }.stream())
    }

    /// Uniform in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// True in `share` of a hundred cases.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.0.below(100) < share
    }

    /// One of the given values.
    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.below(of.len() as u64) as usize].clone()
    }
}
