//! Partials: whether they are wanted, and what becomes of them.

use std::collections::BTreeMap;

use lookbehind_common::contribution::{Contribution, Sums};
use lookbehind_common::ids::{Fence, JobId, SessionId, WorkId};
use lookbehind_common::reduction::{MissingShard, Node, reduce};
use lookbehind_proto::transfer::Checksum;

use super::Core;
use super::command::{Coordinates, WorkKind};
use super::event::{Admission, PartialHeader, PartialOutcome};
use super::job::{Active, Job, Phase, Stage};
use super::work::{Acceptance, Work};

/// A node may fail so often, on whatever workers, before the job does.
const MAX_FAILURES: u32 = 3;

impl Core {
    /// Whether a worker may download weights of the job.
    pub(super) fn admit_download(&self, fence: &Fence, id: &JobId) -> Admission {
        if !self.is_current(fence) {
            return Admission::Stale(self.stale(fence));
        }
        let member = |active: &Active| active.members.contains_key(&fence.session);
        match self.jobs.get(id).and_then(|job| job.active.as_ref()) {
            Some(active) if member(active) => Admission::Granted,
            _ => Admission::Stale(format!("session {} does not serve job {id}", fence.session)),
        }
    }

    /// Whether a partial is wanted; decided before any of its tensors is read.
    pub(super) fn admit_partial(&self, header: &PartialHeader) -> Admission {
        if !self.is_current(&header.fence) {
            return Admission::Stale(self.stale(&header.fence));
        }
        let Some((active, work)) = self.work_in_hand(&header.work) else {
            return Admission::Stale(format!("{} is over", header.work));
        };
        if !work.is_assigned(header.fence.session, header.node) {
            return Admission::Stale(format!(
                "{} of {} are not assigned to session {}",
                header.node, header.work, header.fence.session
            ));
        }
        let layout = active.described.as_ref().map(|(description, _)| &description.layout);
        let (gradient, statistics) = match (work.coordinates.kind, layout) {
            (WorkKind::Gradient { .. }, Some(layout)) => (layout.parameters(), layout.statistics()),
            _ => (0, 0),
        };
        let samples = samples_in(&work.coordinates, header.node);
        let expected = (gradient as u64, statistics as u64, samples);
        let found = (header.gradient, header.statistics, header.samples);
        if expected != found || !header.busy.is_sound() {
            return Admission::Refused(format!(
                "partial of {}: expected {expected:?} numbers in the gradient, numbers in the statistics and \
                 samples, found {found:?} in {} s and {} s for data",
                header.node, header.busy.compute, header.busy.data
            ));
        }
        Admission::Granted
    }

    /// The work of that identity, if it is what its job waits for.
    fn work_in_hand(&self, id: &WorkId) -> Option<(&Active, &Work)> {
        let active = self.jobs.get(&id.job)?.active.as_ref()?;
        match &active.stage {
            Stage::Training(training) => match &training.phase {
                Phase::Gathering(_, work) if work.id == *id => Some((active, work)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes a complete partial: the admission still has to hold.
    pub(super) fn take_partial(
        &mut self,
        header: &PartialHeader,
        contribution: Contribution,
        checksum: Checksum,
    ) -> PartialOutcome {
        match self.admit_partial(header) {
            Admission::Granted => {}
            Admission::Stale(reason) => return PartialOutcome::Stale(reason),
            Admission::Refused(reason) => return PartialOutcome::Refused(reason),
        }
        let (now, session, job) = (self.now.elapsed, header.fence.session, &header.work.job);
        if let Some(worker) = self.workers.get_mut(session) {
            worker.last_seen = now;
        }
        let Some(active) = self.jobs.get_mut(job).and_then(|job| job.active.as_mut()) else {
            return PartialOutcome::Stale(format!("job {job} is not active"));
        };
        let Stage::Training(training) = &mut active.stage else {
            return PartialOutcome::Stale(format!("job {job} does not train"));
        };
        let Phase::Gathering(_, work) = &mut training.phase else {
            return PartialOutcome::Stale(format!("{} is over", header.work));
        };
        let acceptance = work.accept(header.node, contribution, checksum, session);
        let used = acceptance == Acceptance::Accepted;
        work.remember_delivery(session, header.node, header.busy, used, now);
        let all_done = work.note_done(session, header.node, header.busy, now);
        if let Some(member) = active.members.get_mut(&session) {
            member.shards_done += u64::from(header.node.len());
            if let Some((shards, seconds)) = all_done {
                member.measure(shards, seconds);
            }
        }
        match acceptance {
            Acceptance::Accepted => {
                self.gathered(job);
                PartialOutcome::Accepted
            }
            Acceptance::Duplicate => PartialOutcome::Duplicate,
            Acceptance::Conflict(other) => self.conflict(header, other),
        }
    }

    /// Two workers of one class gave different bytes for the same shards: nothing can be trusted. Of different classes, where
    /// the job allows them, the first answer counts.
    fn conflict(&mut self, header: &PartialHeader, other: SessionId) -> PartialOutcome {
        if self.jobs.get(&header.work.job).is_some_and(Job::mixes_classes) {
            return PartialOutcome::Duplicate;
        }
        let reason = format!(
            "workers {} and {} disagree on {} of {}: their machines do not compute alike",
            self.workers.name(other),
            self.workers.name(header.fence.session),
            header.node,
            header.work
        );
        self.fail(&header.work.job, &reason);
        PartialOutcome::Conflict(reason)
    }

    /// A worker could not compute a node: it goes elsewhere, a few times.
    pub(super) fn work_failed(&mut self, session: SessionId, id: &WorkId, node: Node, reason: &str) {
        let name = self.workers.name(session);
        if self.work_in_hand(id).is_none_or(|(_, work)| !work.is_assigned(session, node)) {
            return;
        }
        let Some(active) = self.active_mut(&id.job) else { return };
        let Stage::Training(training) = &mut active.stage else { return };
        let Phase::Gathering(_, work) = &mut training.phase else { return };
        let failures = work.fail(session, node);
        tracing::warn!(job = %id.job, worker = name, shard = %node, reason, "work failed");
        if failures >= MAX_FAILURES {
            let reason = format!("{node} of {id} failed on worker {name}: {reason}");
            return self.fail(&id.job, &reason);
        }
        if active.members.len() < 2 {
            // There is nobody else: it may try again.
            return self.assign_rest(&id.job);
        }
        self.exclude(session, &id.job, reason, false);
    }
}

/// Samples that the shards of a node hold.
fn samples_in(coordinates: &Coordinates, node: Node) -> u64 {
    let range =
        |shard| lookbehind_common::reduction::shard_range(coordinates.samples, coordinates.shards, shard);
    if node.end > coordinates.shards || node.is_empty() {
        return 0;
    }
    range(node.end - 1).end - range(node.first).start
}

/// The canonical sum over partials that hold no tensors.
pub(super) fn reduce_sums(
    shards: u32,
    mut parts: BTreeMap<Node, Contribution>,
) -> Result<Sums, MissingShard> {
    let total = reduce::<MissingShard>(Node::root(shards), &mut |node| Ok(parts.remove(&node)))?;
    Ok(total.sums)
}
