//! What was measured of a worker that serves a job. Computing and links are measured apart: a slow link makes a worker
//! late with everything that it moves, and says nothing of how many shards it can compute.

use crate::state::active::smooth;

/// A worker without shards is tried again after about this many requests, and each time in vain after twice as many.
const FIRST_TRIAL: f64 = 8.0;
const MOST_DOUBLINGS: u32 = 10;
/// Transfers of a worker that take less than this many times as long as others' count as equal.
const EQUAL_LINKS: f64 = 2.0;
/// An owner's share of the blocks changes by at most this factor from one request to the next.
const MOST_CHANGE: f64 = 2.0;
/// A share grows by this factor with each request in which nothing is known against it.
const GROWTH: f64 = 1.1;

/// Measurements of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Smoothed time that it computes for a shard, in seconds.
    computing: Option<f64>,
    /// Smoothed time of a request from assignment to delivery in which it does not compute, in seconds.
    moving: Option<f64>,
    /// Requests in a row in which it had no shards.
    idle: u32,
    /// How often it was tried again in vain, in a row.
    in_vain: u32,
    /// Its share of the blocks as their owner, relative to that of a worker with a fast link: in 0..=1.
    share: f64,
}

impl Default for Measured {
    fn default() -> Self {
        Self { computing: None, moving: None, idle: 0, in_vain: 0, share: 1.0 }
    }
}

impl Measured {
    /// Notes that it delivered `shards` shards after `seconds` seconds, of which it says that it computed for `computing`.
    pub(crate) fn note(&mut self, shards: u32, seconds: f64, computing: f64) {
        let computing = computing.min(seconds);
        let per_shard = computing / f64::from(shards.max(1));
        if self.idle > 0 {
            let is_no_faster = self.computing.is_some_and(|known| per_shard > known / 2.0);
            self.in_vain = if is_no_faster { self.in_vain + 1 } else { 0 };
            // What was measured before it had no shards is of another time.
            self.computing = Some(per_shard);
        } else {
            smooth(&mut self.computing, per_shard);
        }
        self.idle = 0;
        smooth(&mut self.moving, seconds - computing);
    }

    /// Notes that a request was complete in which it had no shards.
    pub(crate) fn note_without_shards(&mut self) {
        self.idle = self.idle.saturating_add(1);
    }

    /// Smoothed time that it computes for a shard, in seconds.
    pub(crate) fn seconds_per_shard(&self) -> Option<f64> {
        self.computing
    }

    /// The same for the division of shards, where `fastest` is that of the fastest worker: the longer it had no shards, the
    /// less what was measured of it counts, so that it is tried again.
    pub(crate) fn expected_per_shard(&self, fastest: f64) -> Option<f64> {
        let known = self.computing?;
        let trial = FIRST_TRIAL * f64::from(1_u32 << self.in_vain.min(MOST_DOUBLINGS));
        let remembered = (-f64::from(self.idle) / trial).exp2();
        Some(fastest + (known - fastest).max(0.0) * remembered)
    }

    /// How long it takes from the assignment of so many shards to their delivery, in seconds.
    pub(crate) fn expected(&self, shards: u32) -> Option<f64> {
        Some(self.computing? * f64::from(shards) + self.moving?)
    }

    /// How many times as long as over a usual link transfers take over its own, where `usual` is their usual time in
    /// seconds.
    pub(crate) fn link(&self, usual: f64) -> f64 {
        let factor = self.moving.filter(|_| usual > 0.0).map_or(1.0, |moving| moving / usual);
        if factor < EQUAL_LINKS { 1.0 } else { factor }
    }

    /// Time of a request in which it does not compute, in seconds.
    pub(crate) fn moving(&self) -> Option<f64> {
        self.moving
    }

    /// Its share of the blocks as their owner, in 0..=1.
    pub(crate) fn share(&self) -> f64 {
        self.share
    }

    /// Notes that moving its range took `factor` times as long as owners usually took; without a factor, that it owned
    /// none, or nothing is known of it.
    pub(crate) fn note_range(&mut self, factor: Option<f64>) {
        let change = factor.map_or(GROWTH, |factor| (1.0 / factor).clamp(1.0 / MOST_CHANGE, GROWTH));
        self.share = (self.share * change).clamp(1e-3, 1.0);
    }
}

/// The lower median.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests;
