//! Verification (`resources.verify`): some segments are computed by two workers of different identities, and their bytes
//! must be equal. Which ones is drawn with a key that no worker knows, and a worker cannot tell from its assignment.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::ids::SessionId;
use lookbehind_common::job::JobSpec;
use lookbehind_common::optimizer::requests_per_outer_step;
use lookbehind_common::random::{Key, Purpose};
use lookbehind_common::reduction::Segment;
use lookbehind_proto::transfer::Checksum;

use super::assign::Candidate;
use super::cluster::Cluster;
use super::request::Request;

/// A segment that is computed twice.
#[derive(Debug, Default)]
struct Comparison {
    /// Workers that were asked for it and have not delivered it.
    awaited: BTreeSet<SessionId>,
    /// Checksums of what was delivered.
    delivered: Vec<(SessionId, Checksum)>,
}

/// The comparisons of a request.
#[derive(Debug, Default)]
pub(crate) struct Comparisons {
    /// Shards whose segments are to be compared.
    shards: BTreeSet<u32>,
    by_segment: BTreeMap<Segment, Comparison>,
    /// Number of shards for which there was no second worker.
    without_second: u32,
    /// Number of shards that were computed twice with equal bytes.
    equal: u64,
}

impl Comparisons {
    pub(crate) fn of(shards: BTreeSet<u32>) -> Self {
        Self { shards, ..Self::default() }
    }

    /// Whether no comparison is open.
    pub(crate) fn are_done(&self) -> bool {
        self.by_segment.is_empty()
    }

    /// Number of shards that were computed twice with equal bytes, and number of those for which there was no second
    /// worker.
    pub(crate) fn outcome(&self) -> (u64, u32) {
        (self.equal, self.without_second)
    }

    /// Notes a delivery. An error names the worker that delivered other bytes before.
    pub(crate) fn deliver(
        &mut self,
        segment: Segment,
        session: SessionId,
        checksum: Checksum,
    ) -> Result<(), SessionId> {
        let Some(comparison) = self.by_segment.get_mut(&segment) else { return Ok(()) };
        comparison.awaited.remove(&session);
        if let Some((other, _)) = comparison.delivered.iter().find(|(_, other)| *other != checksum) {
            return Err(*other);
        }
        comparison.delivered.push((session, checksum));
        if comparison.delivered.len() > 1 {
            self.by_segment.remove(&segment);
            self.equal += u64::from(segment.len());
        }
        Ok(())
    }

    /// A worker has left, or cannot compute what it was asked for.
    pub(crate) fn give_up(&mut self, session: SessionId) {
        for comparison in self.by_segment.values_mut() {
            comparison.awaited.remove(&session);
        }
        // The shards of a segment that is computed by no worker any more are assigned, and compared, anew.
        self.by_segment.retain(|_, open| !(open.awaited.is_empty() && open.delivered.is_empty()));
    }

    /// Segments that lack a second worker, with the workers that they have.
    fn lacking(&self) -> Vec<(Segment, BTreeSet<SessionId>)> {
        let parties = |comparison: &Comparison| {
            let delivered = comparison.delivered.iter().map(|(session, _)| *session);
            delivered.chain(comparison.awaited.iter().copied()).collect::<BTreeSet<_>>()
        };
        let all = self.by_segment.iter().map(|(segment, comparison)| (*segment, parties(comparison)));
        all.filter(|(_, parties)| parties.len() < 2).collect()
    }

    /// Segments that wait only for workers that are late.
    pub(crate) fn late(&self, is_late: impl Fn(SessionId) -> bool) -> Vec<Segment> {
        let waits = |comparison: &Comparison| comparison.awaited.iter().all(|session| is_late(*session));
        self.by_segment
            .iter()
            .filter(|(_, comparison)| waits(comparison))
            .map(|(segment, _)| *segment)
            .collect()
    }

    /// Waits no longer for the workers that have not delivered a segment yet.
    fn stop_waiting(&mut self, segment: Segment) {
        match self.by_segment.get_mut(&segment) {
            Some(comparison) if comparison.delivered.is_empty() => self.abandon(segment),
            Some(comparison) => comparison.awaited.clear(),
            None => {}
        }
    }

    /// Begins to compare the segments of an assignment that hold a shard to be compared.
    pub(crate) fn begin(&mut self, session: SessionId, segments: &[Segment]) {
        for segment in segments {
            let holds = self.shards.range(segment.first..segment.end).next().is_some();
            let is_new =
                !self.by_segment.keys().any(|open| open.contains(*segment) || segment.contains(*open));
            if holds && is_new {
                self.by_segment.entry(*segment).or_default().awaited.insert(session);
            }
        }
    }

    /// A segment is not compared any more.
    pub(crate) fn forget(&mut self, segment: Segment) {
        self.by_segment.remove(&segment);
    }

    fn add_second(&mut self, segment: Segment, session: SessionId) {
        self.by_segment.entry(segment).or_default().awaited.insert(session);
    }

    /// Gives up a comparison for which there is no second worker.
    fn abandon(&mut self, segment: Segment) {
        if self.by_segment.remove(&segment).is_some() {
            self.without_second += segment.len();
        }
    }
}

/// The shards of a request that are compared. Over all gradient requests of an outer step their number is `resources.verify`.
pub(super) fn drawn(key: u64, spec: &JobSpec, outer_step: u64, index: u32, shards: u32) -> BTreeSet<u32> {
    let requests = requests_per_outer_step(&spec.optimizer.method);
    let mut stream = Key { batch: outer_step, ..Key::new(key, Purpose::Verification) }.stream();
    let draws = (0..spec.resources.verify).map(|_| (stream.below(requests), stream.below(1 << 32)));
    let of_request = draws.filter(|(request, _)| *request == u64::from(index));
    // The number of shards may differ between the batches of an outer step.
    of_request.map(|(_, share)| ((share * u64::from(shards)) >> 32) as u32).collect()
}

impl Cluster {
    /// Asks a second worker for each segment that lacks one. Comparisons without such a worker are given up.
    pub(super) fn assign_seconds(&mut self, request: &mut Request, candidates: &[Candidate]) {
        for (segment, parties) in request.comparisons.lacking() {
            let differs = |candidate: &&Candidate| {
                parties.iter().all(|party| self.are_different(*party, candidate.session))
            };
            // In turn, so that not one worker computes all segments a second time.
            let turn = segment.first as usize % candidates.len().max(1);
            let (before, from) = candidates.split_at(turn);
            match from.iter().chain(before).find(differs).map(|candidate| candidate.session) {
                Some(second) => {
                    request.comparisons.add_second(segment, second);
                    self.assign_segments(request, second, vec![segment], false);
                }
                None => request.comparisons.abandon(segment),
            }
        }
    }

    /// Looks for other workers in place of those that are late with the second computation of some segments.
    pub(super) fn replace_late_seconds(
        &mut self,
        request: &mut Request,
        late: &[Segment],
        idle: &[Candidate],
    ) {
        late.iter().for_each(|segment| request.comparisons.stop_waiting(*segment));
        if !late.is_empty() {
            self.assign_seconds(request, idle);
        }
    }

    /// Whether two sessions belong to different identities; without credentials, whether they are different sessions.
    fn are_different(&self, one: SessionId, other: SessionId) -> bool {
        self.workers.party(one) != self.workers.party(other)
    }
}

#[cfg(test)]
mod tests;
