//! One piece of work in hand: which nodes are computed by whom, and which are filled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lookbehind_common::contribution::Contribution;
use lookbehind_common::ids::{SessionId, WorkId};
use lookbehind_common::reduction::Node;
use lookbehind_common::transfer::Checksum;

use crate::state::command::Coordinates;

/// A node that is filled.
#[derive(Debug)]
struct Filled {
    contribution: Contribution,
    checksum: Checksum,
    by: SessionId,
}

/// What became of a partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It fills its node.
    Accepted,
    /// Its node, or one above it, is filled already.
    Duplicate,
    /// Its node is filled with other bytes, by that worker.
    Conflict(SessionId),
}

/// One piece of work in hand.
#[derive(Debug)]
pub(crate) struct Work {
    /// Its identity.
    pub(crate) id: WorkId,
    /// What it computes.
    pub(crate) coordinates: Coordinates,
    /// The weights that it computes at.
    pub(crate) weights_version: u64,
    filled: BTreeMap<Node, Filled>,
    assigned: BTreeMap<SessionId, BTreeSet<Node>>,
    /// When each worker last was given something or delivered something.
    since: BTreeMap<SessionId, Duration>,
    failures: BTreeMap<Node, u32>,
    compute_seconds: BTreeMap<SessionId, f64>,
    first_done: Option<Duration>,
}

impl Work {
    pub(crate) fn new(id: WorkId, coordinates: Coordinates, weights_version: u64) -> Self {
        Self {
            id,
            coordinates,
            weights_version,
            filled: BTreeMap::new(),
            assigned: BTreeMap::new(),
            since: BTreeMap::new(),
            failures: BTreeMap::new(),
            compute_seconds: BTreeMap::new(),
            first_done: None,
        }
    }

    /// Notes that a worker is to compute some nodes.
    pub(crate) fn assign(&mut self, session: SessionId, nodes: &[Node]) {
        self.assigned.entry(session).or_default().extend(nodes);
    }

    /// Notes that a worker was given or delivered something now.
    pub(crate) fn touch(&mut self, session: SessionId, now: Duration) {
        self.since.insert(session, now);
    }

    /// Whether nothing is expected of the worker.
    pub(crate) fn is_idle(&self, session: SessionId) -> bool {
        self.assigned.get(&session).is_none_or(BTreeSet::is_empty)
    }

    /// Whether the worker has delivered anything.
    pub(crate) fn has_delivered(&self, session: SessionId) -> bool {
        self.compute_seconds.contains_key(&session)
    }

    /// Whether the worker was asked for the node.
    pub(crate) fn is_assigned(&self, session: SessionId, node: Node) -> bool {
        self.assigned.get(&session).is_some_and(|nodes| nodes.contains(&node))
    }

    /// Whether a partial for the node would be news.
    pub(crate) fn wants(&self, node: Node) -> bool {
        !self.filled.keys().any(|filled| filled.contains(node))
    }

    /// Takes a verified partial. The first one fills a node; an ancestor supersedes its descendants.
    pub(crate) fn accept(
        &mut self,
        node: Node,
        contribution: Contribution,
        checksum: Checksum,
        by: SessionId,
    ) -> Acceptance {
        if let Some(earlier) = self.filled.get(&node) {
            let same = earlier.checksum == checksum;
            return if same { Acceptance::Duplicate } else { Acceptance::Conflict(earlier.by) };
        }
        if !self.wants(node) {
            return Acceptance::Duplicate;
        }
        self.filled.retain(|filled, _| !node.contains(*filled));
        self.filled.insert(node, Filled { contribution, checksum, by });
        Acceptance::Accepted
    }

    /// Notes how long a worker computed, and returns whether it has nothing left to do here.
    pub(crate) fn note_done(&mut self, session: SessionId, node: Node, seconds: f64, now: Duration) -> bool {
        *self.compute_seconds.entry(session).or_default() += seconds;
        self.touch(session, now);
        let Some(nodes) = self.assigned.get_mut(&session) else { return true };
        nodes.remove(&node);
        let idle = nodes.is_empty();
        if idle {
            self.first_done.get_or_insert(now);
        }
        idle
    }

    /// Whether every shard is covered by a filled node.
    pub(crate) fn is_complete(&self) -> bool {
        self.filled.keys().map(|node| node.len()).sum::<u32>() == self.coordinates.shards
    }

    /// The nodes that a worker was to compute and that nobody has filled; it is asked for nothing any more.
    pub(crate) fn withdraw(&mut self, session: SessionId) -> Vec<Node> {
        let nodes = self.assigned.remove(&session).unwrap_or_default();
        nodes.into_iter().filter(|node| self.wants(*node) && !self.is_elsewhere(*node)).collect()
    }

    /// Whether somebody is asked for the node.
    fn is_elsewhere(&self, node: Node) -> bool {
        self.assigned.values().flatten().any(|assigned| assigned.contains(node))
    }

    /// Takes a node back from a worker that could not compute it; returns how often it has failed so far.
    pub(crate) fn fail(&mut self, session: SessionId, node: Node) -> u32 {
        if let Some(nodes) = self.assigned.get_mut(&session) {
            nodes.remove(&node);
        }
        let failures = self.failures.entry(node).or_default();
        *failures += 1;
        *failures
    }

    /// Shards that nobody is asked for and nobody has filled, as maximal contiguous ranges.
    pub(crate) fn unassigned(&self) -> Vec<Node> {
        self.ranges(|leaf| self.wants(leaf) && !self.is_elsewhere(leaf))
    }

    /// Shards that nobody has filled and for which only late workers are asked, as maximal contiguous ranges.
    /// `is_late` is told a worker, since when nothing has come of it, and how many shards it has in hand.
    pub(crate) fn late(&self, is_late: impl Fn(SessionId, Duration, u32) -> bool) -> Vec<Node> {
        let in_time: Vec<&BTreeSet<Node>> = self
            .assigned
            .iter()
            .filter(|(session, nodes)| {
                let since = self.since.get(session).copied().unwrap_or_default();
                !is_late(**session, since, nodes.iter().map(|node| node.len()).sum())
            })
            .map(|(_, nodes)| nodes)
            .collect();
        let in_good_hands = |leaf| in_time.iter().any(|nodes| nodes.iter().any(|node| node.contains(leaf)));
        self.ranges(|leaf| self.wants(leaf) && self.is_elsewhere(leaf) && !in_good_hands(leaf))
    }

    /// The shards for which something holds, as maximal contiguous ranges.
    fn ranges(&self, holds: impl Fn(Node) -> bool) -> Vec<Node> {
        let mut ranges: Vec<Node> = Vec::new();
        let leaf = |shard: &u32| Node { first: *shard, end: *shard + 1 };
        for shard in (0..self.coordinates.shards).filter(|shard| holds(leaf(shard))) {
            match ranges.last_mut() {
                Some(range) if range.end == shard => range.end = shard + 1,
                _ => ranges.push(Node { first: shard, end: shard + 1 }),
            }
        }
        ranges
    }

    /// Workers that took part.
    pub(crate) fn contributors(&self) -> impl Iterator<Item = SessionId> {
        self.compute_seconds.keys().copied()
    }

    /// Seconds that the busiest worker computed.
    pub(crate) fn longest_compute(&self) -> f64 {
        self.compute_seconds.values().copied().fold(0.0, f64::max)
    }

    /// Seconds from the first worker's being done until now.
    pub(crate) fn waiting(&self, now: Duration) -> f64 {
        self.first_done.map_or(0.0, |done| now.saturating_sub(done).as_secs_f64())
    }

    /// The partials, once the work is complete.
    pub(crate) fn into_parts(self) -> BTreeMap<Node, Contribution> {
        self.filled.into_iter().map(|(node, filled)| (node, filled.contribution)).collect()
    }
}

#[cfg(test)]
#[path = "work_test.rs"]
mod tests;
