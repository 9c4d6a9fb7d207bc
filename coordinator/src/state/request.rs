//! The open request of a job: which segments are assigned to which workers, and which are filled.

mod assigned;
mod moved;
mod timeline;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::ids::{RequestId, SessionId};
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_proto::transfer::Checksum;

pub(super) use self::assigned::Done;
use self::assigned::WorkerAssignment;
use self::timeline::Assignments;
use crate::state::command::{Coordinates, RequestKind};
use crate::state::doubt::Doubted;
use crate::state::event::Busy;
use crate::state::exchange::{Announcement, Exchange, Passing, RangeParts};
use crate::state::parties::Party;
use crate::state::verify::Comparisons;

/// The accepted partial of a segment.
#[derive(Debug)]
struct Filled {
    partial: Partial,
    checksum: Checksum,
    by: SessionId,
}

/// Outcome of a partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It fills its segment.
    Accepted,
    /// Its segment, or an ancestor of it in the reduction tree, is filled already.
    Duplicate,
    /// Its segment is filled already, with other bytes, which came from this worker.
    Conflict(SessionId),
}

/// The open request of a job.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) coordinates: Coordinates,
    /// Version of the weights to compute at.
    pub(crate) weights_version: u64,
    filled: BTreeMap<Segment, Filled>,
    assigned: BTreeMap<SessionId, WorkerAssignment>,
    failures: BTreeMap<Segment, (u32, BTreeSet<Party>)>,
    /// Segments of which a partial was not finite.
    pub(super) doubted: BTreeMap<Segment, Doubted>,
    busy_for: BTreeMap<SessionId, Busy>,
    /// When the first worker had delivered everything assigned to it.
    first_done: Option<Duration>,
    /// When the request was issued.
    begun: Duration,
    /// Segments that two workers compute; see `resources.verify`.
    pub(super) comparisons: Comparisons,
    /// How its workers exchange partials with each other; `None` if they upload them.
    pub(super) exchange: Option<Exchange>,
    /// How its workers pass the weights on to each other, where there are no partials to exchange.
    pub(super) passing: Option<Passing>,
    /// Digests of the blocks of the weights; empty if all get the weights from the coordinator.
    pub(super) weights_digests: Arc<[BlockDigest]>,
    /// Record of the assignments for the timeline; decisions do not use it.
    assignments: Assignments,
}

impl Request {
    pub(crate) fn new(
        id: RequestId,
        coordinates: Coordinates,
        weights_version: u64,
        begun: Duration,
        comparisons: Comparisons,
    ) -> Self {
        Self {
            id,
            coordinates,
            weights_version,
            filled: BTreeMap::new(),
            assigned: BTreeMap::new(),
            failures: BTreeMap::new(),
            doubted: BTreeMap::new(),
            busy_for: BTreeMap::new(),
            first_done: None,
            begun,
            comparisons,
            exchange: None,
            passing: None,
            weights_digests: Arc::default(),
            assignments: Assignments::default(),
        }
    }

    /// Whether it is a gradient request.
    pub(crate) fn is_of_gradient(&self) -> bool {
        matches!(self.coordinates.kind, RequestKind::Gradient { .. })
    }

    /// When the request was issued, since the coordinator's start.
    pub(crate) fn begun(&self) -> Duration {
        self.begun
    }

    /// Whether the worker has delivered anything.
    pub(crate) fn has_delivered(&self, session: SessionId) -> bool {
        self.busy_for.contains_key(&session)
    }

    /// Whether the segment is not covered by a filled one yet.
    pub(crate) fn wants(&self, segment: Segment) -> bool {
        !self.filled.keys().any(|filled| filled.contains(segment))
    }

    /// Takes a verified partial. The first one fills its segment and replaces partials of descendants in the tree.
    pub(crate) fn accept(
        &mut self,
        segment: Segment,
        partial: Partial,
        checksum: Checksum,
        by: SessionId,
    ) -> Acceptance {
        if let Some(earlier) = self.filled.get(&segment) {
            let same = earlier.checksum == checksum;
            return if same { Acceptance::Duplicate } else { Acceptance::Conflict(earlier.by) };
        }
        if !self.wants(segment) {
            return Acceptance::Duplicate;
        }
        self.filled.retain(|filled, _| !segment.contains(*filled));
        self.filled.insert(segment, Filled { partial, checksum, by });
        Acceptance::Accepted
    }

    /// Whether every shard is covered by a filled segment, no comparison is open, and the exchange, if there is one, has
    /// come to the sums of all blocks.
    pub(crate) fn is_complete(&self) -> bool {
        let is_exchanged = self.exchange.as_ref().is_none_or(Exchange::is_complete);
        self.comparisons.are_done() && self.is_filled() && is_exchanged
    }

    /// Takes a worker's announcement of a computed partial whose blocks are exchanged between workers; `None` if those of
    /// this request are not.
    pub(super) fn announce(
        &mut self,
        session: SessionId,
        segment: Segment,
        digests: Vec<BlockDigest>,
    ) -> Option<Announcement> {
        Some(self.exchange.as_mut()?.announce(session, segment, digests))
    }

    /// Lets the coordinator take over blocks whose owners added what nobody will announce any more.
    pub(super) fn take_over_unfounded(&mut self, now: Duration) {
        if let Some(exchange) = &mut self.exchange {
            let assigned = self.assigned.values().flat_map(|assignment| assignment.segments.iter().copied());
            exchange.take_over_unfounded(&assigned.collect(), now);
        }
    }

    /// Notes in the exchange that partials of all shards are announced, once they are.
    pub(super) fn note_announced(&mut self, now: Duration) {
        let is_filled = self.is_filled();
        if let Some(exchange) = self.exchange.as_mut().filter(|_| is_filled) {
            exchange.note_all_announced(now);
        }
    }

    /// The filled segments, and by whom.
    pub(super) fn announced_by(&self) -> impl Iterator<Item = (Segment, SessionId)> {
        self.filled.iter().map(|(segment, filled)| (*segment, filled.by))
    }

    /// Whether every shard is covered by a filled segment.
    fn is_filled(&self) -> bool {
        self.filled.keys().map(|segment| segment.len()).sum::<u32>() == self.coordinates.shards
    }

    /// Withdraws all assignments of a worker. Returns those of its segments that are neither filled nor assigned to
    /// another worker.
    pub(crate) fn withdraw(&mut self, session: SessionId, now: Duration) -> Vec<Segment> {
        self.assignments.lost(session);
        self.comparisons.give_up(session);
        if let Some(exchange) = self.exchange.as_mut().filter(|exchange| !exchange.is_complete()) {
            exchange.take_over_from(session, now);
            // What it has announced went with it, unless owners have fetched it all; then computing it again is in vain.
            let announced = self.filled.len();
            self.filled.retain(|_, filled| filled.by != session);
            if self.filled.len() < announced {
                exchange.note_missing();
            }
        }
        // A worker that joined after the request was issued may have no assignment.
        let assignment = self.assigned.remove(&session).unwrap_or_default();
        assignment
            .segments
            .into_iter()
            .filter(|segment| self.wants(*segment) && !self.is_assigned_to_any(*segment))
            .collect()
    }

    /// Withdraws a segment from a worker that could not compute it. Returns how often the segment has failed so far, and
    /// on how many parties.
    pub(crate) fn fail(&mut self, session: SessionId, party: Party, segment: Segment) -> (u32, usize) {
        self.give_back(session, segment);
        let (failures, parties) = self.failures.entry(segment).or_default();
        *failures += 1;
        parties.insert(party);
        (*failures, parties.len())
    }

    /// Shards that are neither filled nor assigned, as maximal contiguous ranges.
    pub(crate) fn unassigned(&self) -> Vec<Segment> {
        self.ranges(|leaf| self.wants(leaf) && !self.is_assigned_to_any(leaf))
    }

    /// Shards that are not filled and assigned to late workers only, as maximal contiguous ranges. The arguments of
    /// `is_late` are a worker, when it last got an assignment or delivered, and its number of open shards.
    pub(crate) fn late(&self, is_late: impl Fn(SessionId, Duration, u32) -> bool) -> Vec<Segment> {
        let in_time = |(session, assignment): &(&SessionId, &WorkerAssignment)| {
            !is_late(**session, assignment.last_activity, assignment.shards_left())
        };
        let in_time: Vec<Segment> = self
            .assigned
            .iter()
            .filter(in_time)
            .flat_map(|(_, assignment)| assignment.segments.iter().copied())
            .collect();
        let is_in_time = |leaf| in_time.iter().any(|segment| segment.contains(leaf));
        self.ranges(|leaf| self.wants(leaf) && self.is_assigned_to_any(leaf) && !is_in_time(leaf))
    }

    /// The shards that satisfy a condition, as maximal contiguous ranges.
    fn ranges(&self, holds: impl Fn(Segment) -> bool) -> Vec<Segment> {
        let mut ranges: Vec<Segment> = Vec::new();
        let leaf = |shard: &u32| Segment { first: *shard, end: *shard + 1 };
        for shard in (0..self.coordinates.shards).filter(|shard| holds(leaf(shard))) {
            match ranges.last_mut() {
                Some(range) if range.end == shard => range.end = shard + 1,
                _ => ranges.push(Segment { first: shard, end: shard + 1 }),
            }
        }
        ranges
    }

    /// Workers that have delivered at least one partial.
    pub(crate) fn contributors(&self) -> impl Iterator<Item = SessionId> {
        self.busy_for.keys().copied()
    }

    /// The time that the busiest worker spent on its partials.
    pub(crate) fn busiest(&self) -> Busy {
        let longer = |a: Busy, b: Busy| if b.total() > a.total() { b } else { a };
        self.busy_for.values().copied().fold(Busy::default(), longer)
    }

    /// Seconds since the first worker had delivered everything assigned to it.
    pub(crate) fn waiting(&self, now: Duration) -> f64 {
        self.first_done.map_or(0.0, |done| now.saturating_sub(done).as_secs_f64())
    }

    /// The accepted partials, once the request is complete. If workers exchanged their tensors with each other, they are
    /// in the second value.
    pub(crate) fn into_parts(self) -> (BTreeMap<Segment, Partial>, Option<RangeParts>) {
        let partials = self.filled.into_iter().map(|(segment, filled)| (segment, filled.partial)).collect();
        (partials, self.exchange.map(Exchange::into_parts))
    }
}

#[cfg(test)]
mod tests;
