//! Which workers can exchange with each other.

use std::collections::BTreeSet;

use lookbehind_common::ids::SessionId;

/// Pairs of workers of which the first could not reach the second.
#[derive(Debug, Default)]
pub(crate) struct Unreachable(BTreeSet<(SessionId, SessionId)>);

impl Unreachable {
    /// Notes that a worker could not reach another. Returns whether that is news.
    pub(crate) fn note(&mut self, from: SessionId, to: SessionId) -> bool {
        from != to && self.0.insert((from, to))
    }

    /// Forgets a worker that has left.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.0.retain(|(from, to)| *from != session && *to != session);
    }

    /// Those of `workers` that can own ranges: each fetches from, and serves, all others.
    pub(crate) fn owners(&self, workers: &[SessionId]) -> Vec<SessionId> {
        let meets = |one, other| !self.0.contains(&(one, other)) && !self.0.contains(&(other, one));
        let meets_all = |one: &SessionId| workers.iter().all(|other| meets(*one, *other));
        workers.iter().copied().filter(meets_all).collect()
    }
}
