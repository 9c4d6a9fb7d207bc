//! What is assigned to the workers of a request, and what they have delivered of it.

use std::collections::BTreeSet;
use std::time::Duration;

use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

use super::Request;
use crate::state::event::Busy;
use crate::state::halt::Halt;

/// The assignments of one worker.
#[derive(Debug, Default)]
pub(super) struct WorkerAssignment {
    /// Segments that it has not delivered yet.
    pub(super) segments: BTreeSet<Segment>,
    /// When it last got an assignment while it had none.
    pub(super) begun: Duration,
    /// Shards assigned to it since `begun`.
    pub(super) shards: u32,
    /// When it last got an assignment or delivered a segment.
    pub(super) last_activity: Duration,
    /// How long it says that it computed since `begun`, in seconds.
    pub(super) computing: f64,
    /// How often it has asked for the weights.
    pub(super) downloads: u32,
}

/// What a worker has delivered: everything that was assigned to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::state) struct Done {
    /// Number of shards.
    pub(in crate::state) shards: u32,
    /// Seconds since they were assigned.
    pub(in crate::state) seconds: f64,
    /// For how many of these it says that it computed.
    pub(in crate::state) computing: f64,
}

impl WorkerAssignment {
    /// Number of shards that it has not delivered yet.
    pub(in crate::state) fn shards_left(&self) -> u32 {
        self.segments.iter().map(|segment| segment.len()).sum()
    }
}

impl Request {
    /// Assigns some segments to a worker.
    pub(crate) fn assign(&mut self, session: SessionId, segments: &[Segment], now: Duration) {
        let assignment = self.assigned.entry(session).or_default();
        if assignment.segments.is_empty() {
            (assignment.begun, assignment.shards, assignment.computing) = (now, 0, 0.0);
        }
        assignment.shards += segments.iter().map(|segment| segment.len()).sum::<u32>();
        assignment.segments.extend(segments);
        assignment.last_activity = now;
        if let Some(exchange) = &mut self.exchange {
            exchange.note_makers(session, segments);
        }
        if let Some(passing) = &mut self.passing {
            passing.note_party(session);
        }
    }

    /// When a worker that has open shards last got an assignment or delivered a segment, and how many are open.
    pub(crate) fn open_assignment(&self, session: SessionId) -> Option<(Duration, u32)> {
        let assignment = self.assigned.get(&session)?;
        let left = assignment.shards_left();
        (left > 0).then_some((assignment.last_activity, left))
    }

    /// Whether the worker has delivered all that was assigned to it.
    pub(crate) fn is_idle(&self, session: SessionId) -> bool {
        self.assigned.get(&session).is_none_or(|assignment| assignment.segments.is_empty())
    }

    /// Workers that have not delivered all their segments, and when each last got an assignment or delivered a segment.
    pub(crate) fn busy(&self) -> impl Iterator<Item = (SessionId, Duration)> {
        let busy = self.assigned.iter().filter(|(_, assignment)| !assignment.segments.is_empty());
        busy.map(|(session, assignment)| (*session, assignment.last_activity))
    }

    /// Whether the segment is assigned to the worker and not delivered by it yet.
    pub(crate) fn is_assigned(&self, session: SessionId, segment: Segment) -> bool {
        self.assigned.get(&session).is_some_and(|assignment| assignment.segments.contains(&segment))
    }

    /// Notes that a worker has delivered a segment that was assigned to it. If that was its last open one, returns what was
    /// assigned to it since it had none.
    pub(in crate::state) fn note_done(
        &mut self,
        session: SessionId,
        segment: Segment,
        busy: Busy,
        now: Duration,
    ) -> Result<Option<Done>, Halt> {
        let assignment = self.assigned.get_mut(&session);
        let assignment =
            assignment.ok_or(Halt::Broken("a worker whose partial is taken was asked for shards"))?;
        *self.busy_for.entry(session).or_default() += busy;
        assignment.last_activity = now;
        assignment.computing += busy.total();
        assignment.segments.remove(&segment);
        Ok(assignment.segments.is_empty().then(|| {
            self.first_done.get_or_insert(now);
            Done {
                shards: assignment.shards,
                seconds: now.saturating_sub(assignment.begun).as_secs_f64(),
                computing: assignment.computing,
            }
        }))
    }

    /// Whether the segment is part of any worker's assignment.
    pub(super) fn is_assigned_to_any(&self, segment: Segment) -> bool {
        self.assigned
            .values()
            .flat_map(|assignment| &assignment.segments)
            .any(|assigned| assigned.contains(segment))
    }

    /// Withdraws a segment from a worker that does not deliver it.
    pub(in crate::state) fn give_back(&mut self, session: SessionId, segment: Segment) {
        self.assignments.failed(session, segment);
        self.comparisons.give_up(session);
        if let Some(assignment) = self.assigned.get_mut(&session) {
            assignment.segments.remove(&segment);
        }
    }
}
