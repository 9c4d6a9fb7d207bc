//! How workers are shared between users: how many each of them may claim, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

/// Rules of sharing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Shares of users, by name. All others have one.
    pub shares: BTreeMap<String, u32>,
    /// Maximum number of active jobs of one user; further ones stay queued. `None`: no limit.
    pub max_active_jobs: Option<usize>,
    /// Whether a job that lacks workers pauses running jobs of a lower priority.
    pub preempt: bool,
}

impl Sharing {
    /// The share of a user.
    pub(super) fn share(&self, owner: &str) -> u64 {
        self.shares.get(owner).copied().map_or(1, u64::from).max(1)
    }
}

/// Resolution of a claim.
const SCALE: u64 = 1 << 20;

/// The claim of a user with `held` workers to one more: the lowest one comes first.
pub(super) fn claim(held: usize, share: u64) -> u64 {
    (held as u64 + 1).saturating_mul(SCALE) / share.max(1)
}

/// Divides workers among users in proportion to their shares. Nobody gets more than they can use, and what is left over
/// goes to the others. Equal claims are decided by name.
pub(super) fn divide<'a>(
    workers: usize,
    demand: &BTreeMap<&'a str, usize>,
    rules: &Sharing,
) -> BTreeMap<&'a str, usize> {
    let mut given: BTreeMap<&str, usize> = demand.keys().map(|owner| (*owner, 0)).collect();
    let first = |owner: &&'a str| Reverse((claim(0, rules.share(owner)), *owner));
    let wanting = demand.iter().filter(|(_, wanted)| **wanted > 0);
    let mut claims: BinaryHeap<_> = wanting.map(|(owner, _)| first(owner)).collect();
    for _ in 0..workers {
        let Some(Reverse((_, owner))) = claims.pop() else { break };
        let held = given.entry(owner).or_default();
        *held += 1;
        if demand.get(owner).is_some_and(|wanted| *held < *wanted) {
            claims.push(Reverse((claim(*held, rules.share(owner)), owner)));
        }
    }
    given
}

/// What users have had of the workers, in proportion to their shares: among jobs of one priority, that of the user who
/// has had least starts first. Who has no jobs is forgotten, and comes back beside the one who has had least, so that
/// nobody can save up turns. It begins anew with each start of the coordinator.
#[derive(Debug, Default)]
pub(super) struct Turns {
    had: BTreeMap<String, u64>,
    /// Until when it is counted.
    until: Duration,
}

impl Turns {
    /// What a user has had.
    pub(super) fn of(&self, owner: &str) -> u64 {
        self.had.get(owner).copied().unwrap_or_else(|| self.least())
    }

    fn least(&self) -> u64 {
        self.had.values().copied().min().unwrap_or(0)
    }

    /// A user has had `workers` workers for some time.
    pub(super) fn charge(&mut self, owner: &str, workers: usize, time: Duration, share: u64) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let amount = milliseconds.saturating_mul(workers as u64).saturating_mul(1000) / share.max(1);
        let had = self.of(owner).saturating_add(amount);
        match self.had.get_mut(owner) {
            Some(entry) => *entry = had,
            None => {
                self.had.insert(owner.to_owned(), had);
            }
        }
    }

    /// The time since the last call.
    pub(super) fn elapsed(&mut self, now: Duration) -> Duration {
        now.saturating_sub(std::mem::replace(&mut self.until, now))
    }

    /// Forgets all users but these; those who are new are beside the one who has had least.
    pub(super) fn keep(&mut self, owners: &BTreeSet<&str>) {
        self.had.retain(|owner, _| owners.contains(owner.as_str()));
        let least = self.least();
        for owner in owners {
            if !self.had.contains_key(*owner) {
                self.had.insert((*owner).to_owned(), least);
            }
        }
    }
}

#[cfg(test)]
mod tests;
