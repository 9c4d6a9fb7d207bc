//! One piece of work in hand: which nodes are computed by whom, and which are filled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::contribution::Contribution;
use lookbehind_common::ids::{SessionId, WorkId};
use lookbehind_common::reduction::Node;
use lookbehind_proto::transfer::Checksum;

use crate::state::command::{Coordinates, WorkKind};
use crate::state::event::Busy;
use crate::state::halt::Halt;
use crate::state::observation::{Fate, Part, WorkTimeline};

/// A node that is filled.
#[derive(Debug)]
struct Filled {
    contribution: Contribution,
    checksum: Checksum,
    by: SessionId,
}

/// What a worker is asked for.
#[derive(Debug, Default)]
struct InHand {
    /// Nodes that it has not delivered.
    nodes: BTreeSet<Node>,
    /// When it was given the first of them after having had none, and how many shards since.
    begun: Duration,
    shards: u32,
    /// When it last was given something or delivered something.
    touched: Duration,
}

impl InHand {
    /// Shards that it has not delivered.
    fn shards_left(&self) -> u32 {
        self.nodes.iter().map(|node| node.len()).sum()
    }
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
    assigned: BTreeMap<SessionId, InHand>,
    failures: BTreeMap<Node, u32>,
    busy_for: BTreeMap<SessionId, Busy>,
    first_done: Option<Duration>,
    /// When it was given out.
    begun: Duration,
    /// Who was asked for what, for those who watch. Times count from the coordinator's start.
    parts: Vec<Part>,
}

/// Parts of a piece of work that are remembered.
const PARTS: usize = 512;

impl Work {
    pub(crate) fn new(id: WorkId, coordinates: Coordinates, weights_version: u64, begun: Duration) -> Self {
        Self {
            id,
            coordinates,
            weights_version,
            filled: BTreeMap::new(),
            assigned: BTreeMap::new(),
            failures: BTreeMap::new(),
            busy_for: BTreeMap::new(),
            first_done: None,
            begun,
            parts: Vec::new(),
        }
    }

    /// Remembers that a worker, who was assigned some nodes, was asked under a name.
    pub(crate) fn remember(
        &mut self,
        (session, worker): (SessionId, &Arc<str>),
        nodes: &[Node],
        again: bool,
        now: Duration,
    ) {
        let room = PARTS.saturating_sub(self.parts.len());
        self.parts.extend(nodes.iter().take(room).map(|node| Part {
            worker: Arc::clone(worker),
            session,
            node: *node,
            assigned: now,
            delivered: None,
            busy: Busy::default(),
            again,
            fate: Fate::Asked,
        }));
    }

    /// The part of a worker that is still open.
    fn part(&mut self, session: SessionId, node: Node) -> Option<&mut Part> {
        let open =
            |part: &&mut Part| part.session == session && part.node == node && part.fate == Fate::Asked;
        self.parts.iter_mut().rev().find(open)
    }

    /// When it was done by whom, in an outer step that began at `origin`; it is complete now.
    pub(crate) fn timeline(&mut self, origin: Duration, now: Duration) -> WorkTimeline {
        let mut parts = std::mem::take(&mut self.parts);
        for part in &mut parts {
            part.assigned = part.assigned.saturating_sub(origin);
            part.delivered = part.delivered.map(|delivered| delivered.saturating_sub(origin));
        }
        WorkTimeline {
            evaluation: self.id.evaluation,
            test: self.coordinates.kind == WorkKind::Test,
            shards: self.coordinates.shards,
            begun: self.begun.saturating_sub(origin),
            gathered: now.saturating_sub(origin),
            parts,
            ..WorkTimeline::default()
        }
    }

    /// Notes that a worker is to compute some nodes from now on.
    pub(crate) fn assign(&mut self, session: SessionId, nodes: &[Node], now: Duration) {
        let hand = self.assigned.entry(session).or_default();
        if hand.nodes.is_empty() {
            (hand.begun, hand.shards) = (now, 0);
        }
        hand.shards += nodes.iter().map(|node| node.len()).sum::<u32>();
        hand.nodes.extend(nodes);
        hand.touched = now;
    }

    /// Whether nothing is expected of the worker.
    pub(crate) fn is_idle(&self, session: SessionId) -> bool {
        self.assigned.get(&session).is_none_or(|hand| hand.nodes.is_empty())
    }

    /// Workers of whom something is expected, and when each was last given something or delivered something.
    pub(crate) fn busy(&self) -> impl Iterator<Item = (SessionId, Duration)> {
        let busy = self.assigned.iter().filter(|(_, hand)| !hand.nodes.is_empty());
        busy.map(|(session, hand)| (*session, hand.touched))
    }

    /// Whether the worker has delivered anything.
    pub(crate) fn has_delivered(&self, session: SessionId) -> bool {
        self.busy_for.contains_key(&session)
    }

    /// Whether the worker was asked for the node.
    pub(crate) fn is_assigned(&self, session: SessionId, node: Node) -> bool {
        self.assigned.get(&session).is_some_and(|hand| hand.nodes.contains(&node))
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

    /// Remembers what a worker's delivery came to.
    pub(crate) fn remember_delivery(
        &mut self,
        session: SessionId,
        node: Node,
        busy: Busy,
        used: bool,
        now: Duration,
    ) {
        if let Some(part) = self.part(session, node) {
            part.fate = if used { Fate::Used } else { Fate::Duplicate };
            part.delivered = Some(now);
            part.busy = busy;
        }
    }

    /// Notes that a worker has delivered a node that it was asked for and was busy with for so long. Where that was the
    /// last thing expected of it, returns how many shards it was given and the seconds from then to now.
    pub(super) fn note_done(
        &mut self,
        session: SessionId,
        node: Node,
        busy: Busy,
        now: Duration,
    ) -> Result<Option<(u32, f64)>, Halt> {
        let hand = self.assigned.get_mut(&session);
        let hand = hand.ok_or(Halt::Broken("a worker whose partial is taken was asked for shards"))?;
        *self.busy_for.entry(session).or_default() += busy;
        hand.touched = now;
        hand.nodes.remove(&node);
        Ok(hand.nodes.is_empty().then(|| {
            self.first_done.get_or_insert(now);
            (hand.shards, now.saturating_sub(hand.begun).as_secs_f64())
        }))
    }

    /// Whether every shard is covered by a filled node.
    pub(crate) fn is_complete(&self) -> bool {
        self.filled.keys().map(|node| node.len()).sum::<u32>() == self.coordinates.shards
    }

    /// The nodes that a worker was to compute and that nobody has filled; it is asked for nothing any more.
    pub(crate) fn withdraw(&mut self, session: SessionId) -> Vec<Node> {
        let open = |part: &&mut Part| part.session == session && part.fate == Fate::Asked;
        self.parts.iter_mut().filter(open).for_each(|part| part.fate = Fate::Lost);
        // A worker that joined after the work was given out may have been asked for nothing.
        let hand = self.assigned.remove(&session).unwrap_or_default();
        hand.nodes.into_iter().filter(|node| self.wants(*node) && !self.is_elsewhere(*node)).collect()
    }

    /// Whether somebody is asked for the node.
    fn is_elsewhere(&self, node: Node) -> bool {
        self.assigned.values().flat_map(|hand| &hand.nodes).any(|assigned| assigned.contains(node))
    }

    /// Takes a node back from a worker that could not compute it; returns how often it has failed so far.
    pub(crate) fn fail(&mut self, session: SessionId, node: Node) -> u32 {
        if let Some(part) = self.part(session, node) {
            part.fate = Fate::Failed;
        }
        if let Some(hand) = self.assigned.get_mut(&session) {
            hand.nodes.remove(&node);
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
        let in_time =
            |(session, hand): &(&SessionId, &InHand)| !is_late(**session, hand.touched, hand.shards_left());
        let in_time: Vec<Node> =
            self.assigned.iter().filter(in_time).flat_map(|(_, hand)| hand.nodes.iter().copied()).collect();
        let in_good_hands = |leaf| in_time.iter().any(|node| node.contains(leaf));
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
        self.busy_for.keys().copied()
    }

    /// What it took the busiest worker.
    pub(crate) fn busiest(&self) -> Busy {
        let longer = |a: Busy, b: Busy| if b.total() > a.total() { b } else { a };
        self.busy_for.values().copied().fold(Busy::default(), longer)
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
mod tests;
