//! Partials that are not finite. One such value ends a job, so a worker of another identity computes the segment as well,
//! before the optimizer has used it: either the training has diverged, or the worker is at fault.

use std::sync::Arc;

use lookbehind_common::ids::SessionId;

use super::cluster::Cluster;
use super::command::RequestKind;
use super::event::{PartialHeader, PartialOutcome};
use super::halt::{Halt, Handled};
use super::job::{Ground, Job};
use super::parties::Party;

/// A worker whose partial of a segment was not finite.
#[derive(Clone, Debug)]
pub(crate) struct Doubted {
    session: SessionId,
    party: Party,
    name: Arc<str>,
}

impl Cluster {
    /// A partial is not finite. If a worker of another identity can compute its segment, that one is asked, and the partial
    /// is not used. Otherwise, or if another one has come to the same, the partial counts: the optimizer refuses the sum.
    pub(super) fn doubt(
        &mut self,
        job: &mut Job,
        header: &PartialHeader,
    ) -> Result<Option<PartialOutcome>, Halt> {
        let session = header.origin.session();
        let doubted =
            Doubted { session, party: self.workers.party(session), name: self.workers.shared_name(session) };
        let now = self.now.elapsed;
        let active = job.require_active_mut()?;
        let candidates = active.basis(now).candidates;
        let training = active.require_training()?;
        training.step.not_finite.insert(doubted.name.to_string());
        let Some(request) = training.request_mut() else { return Ok(None) };
        let is_gradient = matches!(request.coordinates.kind, RequestKind::Gradient { .. });
        let agreed =
            request.doubted.get(&header.segment).is_some_and(|earlier| earlier.party != doubted.party);
        let is_open = is_gradient && request.wants(header.segment) && !agreed;
        let others = candidates.iter().map(|candidate| candidate.session);
        let Some(other) = others.into_iter().find(|other| self.workers.party(*other) != doubted.party) else {
            return Ok(None);
        };
        if !is_open {
            return Ok(None);
        }
        tracing::warn!(job = %request.id.job, worker = %doubted.name, shard = %header.segment, "partial is not finite");
        request.doubted.insert(header.segment, doubted);
        request.comparisons.forget(header.segment);
        request.record_delivery(session, header.segment, header.busy, false, now);
        request.note_done(session, header.segment, header.busy, now)?;
        if !request.is_assigned(other, header.segment) {
            self.assign_segments(request, other, vec![header.segment], true);
        }
        Ok(Some(PartialOutcome::Duplicate))
    }

    /// A finite partial was accepted: workers of other identities whose partials of the same shards were not finite are
    /// excluded.
    pub(super) fn settle_doubts(&mut self, job: &mut Job, header: &PartialHeader) -> Handled {
        let session = header.origin.session();
        let (party, by) = (self.workers.party(session), self.workers.name(session));
        let request = job.require_active_mut()?.require_request()?;
        let is_refuted = |doubted: &Doubted| doubted.party != party;
        let covered: Vec<_> =
            request.doubted.keys().copied().filter(|segment| header.segment.contains(*segment)).collect();
        let doubted: Vec<_> =
            covered.iter().filter_map(|segment| Some((*segment, request.doubted.remove(segment)?))).collect();
        for (segment, Doubted { session, name, .. }) in
            doubted.into_iter().filter(|(_, doubted)| is_refuted(doubted))
        {
            job.require_training()?.step.not_finite.remove(&*name);
            let Ok(active) = job.with_member(session) else { continue };
            if let Some(account) = active.members.get(&session).map(|member| member.account.clone()) {
                job.standings.note_wrong(&account, self.now.elapsed);
            }
            let reason = format!(
                "its gradient of {segment} of {} is not finite, that of worker {by} is",
                header.request
            );
            self.exclude(job, session, &reason, Ground::Failure)?;
        }
        Ok(())
    }
}
