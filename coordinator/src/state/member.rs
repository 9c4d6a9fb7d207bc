//! A worker that serves a job: what was measured of it, and what it missed.

use std::time::Duration;

use crate::state::measured::Measured;
use crate::state::parties::Account;
use crate::state::transfers::FailedTransfers;

/// A worker that serves the job.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// When it was asked to load the job.
    pub(crate) since: Duration,
    /// To whom what it misses is held against.
    pub(crate) account: Account,
    /// Whether it has said that its device failed.
    pub(crate) failed: bool,
    /// Whether it has loaded the job and computed the probe.
    pub(crate) prepared: bool,
    /// How fast it computes, and how fast its links are.
    pub(crate) measured: Measured,
    /// Shards that it has delivered.
    pub(crate) shards_done: u64,
    /// Consecutive requests of which it was assigned a part and delivered nothing.
    pub(crate) missed: u32,
    /// Until when it gets no shards, because of `missed` or of failed transfers.
    pub(crate) passed_over_until: Duration,
    /// How often it was late with blocks that it owned.
    pub(crate) late_owner: u32,
    /// From when on it may own blocks again, because of `late_owner`.
    pub(crate) owns_from: Duration,
    /// Its failed transfers.
    pub(super) transfers: FailedTransfers,
}

impl Member {
    /// A worker that is asked now to load the job. `missed` and `passed_over_until` are what is held against its account.
    pub(crate) fn new(now: Duration, account: Account, missed: u32, passed_over_until: Duration) -> Self {
        Self {
            since: now,
            account,
            failed: false,
            prepared: false,
            measured: Measured::default(),
            shards_done: 0,
            missed,
            passed_over_until,
            late_owner: 0,
            owns_from: Duration::ZERO,
            transfers: FailedTransfers::default(),
        }
    }

    /// Others had to compute its part of a request, which took this long.
    pub(crate) fn miss(&mut self, took: Duration, now: Duration) {
        self.passed_over_until = now + penalty(&mut self.missed, took);
    }

    /// It was late with blocks that it owned, for which others waited this long.
    pub(crate) fn note_late_owner(&mut self, waited: Duration, now: Duration) {
        self.owns_from = now + penalty(&mut self.late_owner, waited);
    }

    /// It leaves with shards that it was asked for this long ago. That happens to honest workers too, so the first time
    /// is only remembered.
    pub(crate) fn leave_undone(&mut self, took: Duration, now: Duration) {
        match self.missed {
            0 => self.missed = 1,
            _ => self.miss(took, now),
        }
    }
}

/// For how long a worker is done without that has cost this much time: a multiple of it, which doubles each time.
fn penalty(times: &mut u32, cost: Duration) -> Duration {
    const FIRST: u32 = 8;
    const MOST_DOUBLINGS: u32 = 10;
    let penalty = cost * (FIRST << (*times).min(MOST_DOUBLINGS));
    *times += 1;
    penalty
}
