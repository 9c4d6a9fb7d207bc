//! The timeline of a request: who was assigned what, and what became of it. No decision depends on it.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

use super::Request;
use crate::state::command::RequestKind;
use crate::state::event::Busy;
use crate::state::observation::{Fate, Part, RequestTimeline, Way};

/// Maximum number of assignments of a request that are recorded; later ones are left out.
const RECORDED: usize = 512;

/// The assignments of a request, in their order. Times count from the coordinator's start.
#[derive(Debug, Default)]
pub(super) struct Assignments(Vec<Part>);

impl Assignments {
    /// The record of an assignment that is still open.
    fn open(&mut self, session: SessionId, segment: Segment) -> Option<&mut Part> {
        let open =
            |part: &&mut Part| part.session == session && part.segment == segment && part.fate == Fate::Asked;
        self.0.iter_mut().rev().find(open)
    }

    /// A worker could not compute a segment.
    pub(super) fn failed(&mut self, session: SessionId, segment: Segment) {
        if let Some(part) = self.open(session, segment) {
            part.fate = Fate::Failed;
        }
    }

    /// A worker has left with everything that it had not delivered.
    pub(super) fn lost(&mut self, session: SessionId) {
        let open = |part: &&mut Part| part.session == session && part.fate == Fate::Asked;
        self.0.iter_mut().filter(open).for_each(|part| part.fate = Fate::Lost);
    }
}

impl Request {
    /// Records an assignment for the timeline, with the worker's name.
    pub(crate) fn record_assignment(
        &mut self,
        (session, worker): (SessionId, &Arc<str>),
        segments: &[Segment],
        again: bool,
        now: Duration,
    ) {
        let recorded = &mut self.assignments.0;
        let room = RECORDED.saturating_sub(recorded.len());
        recorded.extend(segments.iter().take(room).map(|segment| Part {
            worker: Arc::clone(worker),
            session,
            segment: *segment,
            assigned: now,
            delivered: None,
            busy: Busy::default(),
            again,
            fate: Fate::Asked,
        }));
    }

    /// Records a delivery for the timeline.
    pub(crate) fn record_delivery(
        &mut self,
        session: SessionId,
        segment: Segment,
        busy: Busy,
        used: bool,
        now: Duration,
    ) {
        if let Some(part) = self.assignments.open(session, segment) {
            part.fate = if used { Fate::Used } else { Fate::Duplicate };
            part.delivered = Some(now);
            part.busy = busy;
        }
    }

    /// The timeline of the request, which is complete now, relative to `origin`, the beginning of its outer step.
    pub(crate) fn timeline(&mut self, origin: Duration, now: Duration) -> RequestTimeline {
        let mut parts = std::mem::take(&mut self.assignments.0);
        for part in &mut parts {
            part.assigned = part.assigned.saturating_sub(origin);
            part.delivered = part.delivered.map(|delivered| delivered.saturating_sub(origin));
        }
        RequestTimeline {
            index: self.id.index,
            test: matches!(self.coordinates.kind, RequestKind::Test(_)),
            shards: self.coordinates.shards,
            begun: self.begun.saturating_sub(origin),
            gathered: now.saturating_sub(origin),
            way: match &self.exchange {
                None => Way::Coordinator,
                Some(exchange) if exchange.was_taken_over() => Way::TakenOver,
                Some(_) => Way::Workers,
            },
            parts,
            ..RequestTimeline::default()
        }
    }
}
