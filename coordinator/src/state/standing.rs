//! What a job remembers of workers beyond their sessions: a worker does not get rid of a penalty by registering again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::parties::Account;

/// Maximum number of accounts that a job remembers. Beyond it, what would be forgotten first goes.
const REMEMBERED: usize = 256;
/// What has had no effect for this long is forgotten.
const MEMORY: Duration = Duration::from_secs(600);
/// Failures to prepare in a row, from which on an account is kept away.
const FAILURES: u32 = 3;
/// For how long at first; doubled with each further failure.
const KEPT_AWAY: Duration = Duration::from_secs(60);
/// Maximum number of doublings.
const MAX_DOUBLINGS: u32 = 10;

/// What is held against the workers of one account.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// As in `Member`: of the sessions that have ended, the highest.
    missed: u32,
    passed_over_until: Duration,
    /// Failures to prepare the job in a row.
    failures: u32,
    kept_away_until: Duration,
    /// When something was last added.
    changed: Duration,
}

impl Standing {
    fn forgotten_at(&self) -> Duration {
        self.changed.max(self.passed_over_until).max(self.kept_away_until) + MEMORY
    }
}

/// What a job holds against workers.
#[derive(Debug, Default)]
pub(crate) struct Standings(BTreeMap<Account, Standing>);

impl Standings {
    /// Whether nothing is held against anyone.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often in a row the account's workers have missed their part when their sessions ended, and until when they
    /// get no shards.
    pub(crate) fn missed(&self, account: &Account, now: Duration) -> (u32, Duration) {
        let standing = self.0.get(account).filter(|standing| standing.forgotten_at() > now);
        standing.map_or_else(Default::default, |standing| (standing.missed, standing.passed_over_until))
    }

    /// A worker has left the job with these penalties.
    pub(crate) fn note_missed(&mut self, account: &Account, missed: u32, until: Duration, now: Duration) {
        if missed > 0 {
            let standing = self.changed(account, now);
            standing.missed = standing.missed.max(missed);
            standing.passed_over_until = standing.passed_over_until.max(until);
        }
    }

    /// A worker could not prepare the job.
    pub(crate) fn note_failure(&mut self, account: &Account, now: Duration) {
        let standing = self.changed(account, now);
        standing.failures += 1;
        if let Some(doublings) = standing.failures.checked_sub(FAILURES) {
            standing.kept_away_until = now + KEPT_AWAY * (1 << doublings.min(MAX_DOUBLINGS));
        }
    }

    /// A worker was found to compute wrongly.
    pub(crate) fn note_wrong(&mut self, account: &Account, now: Duration) {
        let standing = self.changed(account, now);
        standing.failures = standing.failures.max(FAILURES - 1);
        self.note_failure(account, now);
    }

    /// A worker has prepared the job: the failures of its account are no longer in a row.
    pub(crate) fn note_prepared(&mut self, account: &Account) {
        if let Some(standing) = self.0.get_mut(account) {
            (standing.failures, standing.kept_away_until) = (0, Duration::ZERO);
        }
    }

    /// Whether the account's workers are not asked to prepare the job now.
    pub(crate) fn is_kept_away(&self, account: &Account, now: Duration) -> bool {
        self.0.get(account).is_some_and(|standing| standing.kept_away_until > now)
    }

    fn changed(&mut self, account: &Account, now: Duration) -> &mut Standing {
        self.0.retain(|_, standing| standing.forgotten_at() > now);
        if self.0.len() >= REMEMBERED && !self.0.contains_key(account) {
            let first = self.0.iter().min_by_key(|(_, standing)| standing.forgotten_at());
            if let Some(first) = first.map(|(account, _)| account.clone()) {
                self.0.remove(&first);
            }
        }
        let standing = self.0.entry(account.clone()).or_default();
        standing.changed = now;
        standing
    }
}

#[cfg(test)]
mod tests;
