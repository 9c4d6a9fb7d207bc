//! Ranges that the coordinator takes over, because their owners are lost, late or wrong, or cannot reach a maker.

use std::collections::BTreeSet;
use std::time::Duration;

use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

use super::{Exchange, OwnedRange};
use crate::state::event::Addend;

impl Exchange {
    /// Whether the coordinator owns a range that is not settled.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.ranges.iter().any(|range| range.owner.is_none() && !range.is_settled)
    }

    /// Whether the coordinator has taken over a range.
    pub(crate) fn was_taken_over(&self) -> bool {
        self.ranges.iter().any(|range| range.owner.is_none())
    }

    /// Lets the coordinator take over ranges whose owners added a segment that nobody will announce any more: its maker has
    /// left before it could. `awaited` are the segments that workers are computing.
    pub(crate) fn take_over_unfounded(&mut self, awaited: &BTreeSet<Segment>, now: Duration) {
        let (announced, open) = (&self.announced, self.ranges.iter_mut().filter(|range| !range.is_settled));
        for range in open {
            let is_lost = |addend: &Addend| {
                !announced.contains_key(&addend.segment) && !awaited.contains(&addend.segment)
            };
            if range.addends.as_ref().is_some_and(|addends| addends.iter().any(is_lost)) {
                range.give_to_coordinator();
                self.taken_over_at = Some(now);
                self.is_changed = true;
            }
        }
        self.settle();
    }

    /// Lets the coordinator take over the ranges that a worker owns, as far as they are not settled. Returns whether
    /// there were any.
    pub(crate) fn take_over_from(&mut self, session: SessionId, now: Duration) -> bool {
        self.take_over(now, |owner| owner == session)
    }

    /// Lets the coordinator take over all ranges that are not settled. Returns their owners.
    pub(crate) fn take_over_all(&mut self, now: Duration) -> Vec<SessionId> {
        let open = self.ranges.iter().filter(|range| !range.is_settled);
        let owners = open.filter_map(|range| range.owner).collect();
        self.take_over(now, |_| true);
        owners
    }

    fn take_over(&mut self, now: Duration, of: impl Fn(SessionId) -> bool) -> bool {
        let mut any = false;
        for range in self.ranges.iter_mut().filter(|range| !range.is_settled) {
            if range.owner.is_some_and(&of) {
                range.give_to_coordinator();
                any = true;
            }
        }
        if any {
            self.taken_over_at = Some(now);
            self.is_changed = true;
        }
        any
    }

    /// Workers whose parts of ranges that the coordinator owns are missing, although they announced them, and those that have
    /// not answered the audit.
    pub(crate) fn silent_makers(
        &self,
        announced_by: impl Fn(Segment) -> Option<SessionId>,
    ) -> Vec<SessionId> {
        let taken_over = self.ranges.iter().filter(|range| range.owner.is_none() && !range.is_settled);
        let missing = taken_over.flat_map(|range| {
            let segments = self.announced.keys().filter(|segment| !range.parts.contains_key(segment));
            segments.filter_map(|segment| announced_by(*segment))
        });
        let mut sessions: Vec<SessionId> = missing.chain(self.silent_audited()).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }
}

impl OwnedRange {
    pub(super) fn give_to_coordinator(&mut self) {
        (self.owner, self.sum, self.addends) = (None, None, None);
    }
}
