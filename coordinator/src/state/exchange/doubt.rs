//! What is not finite in an exchange, and what is not what was announced of it.
//!
//! Of what is not finite, nobody is believed at once: a range whose owner's sum is not finite is taken over, so that the
//! makers' parts show whether it is the doing of the owner, who has said that it added what was announced. A part that is not finite ends the exchange; the partials of
//! the request are computed again and go through the coordinator, which asks a worker of another identity where one is
//! not finite. Who is refuted by that is excluded by name.

use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

use crate::state::cluster::Cluster;
use crate::state::event::{BlocksHeader, PartialOutcome};
use crate::state::halt::{Halt, Handled};
use crate::state::job::{Ground, Job};

/// A worker that sent values that are not finite, although others may show that they should be.
#[derive(Clone, Debug)]
pub(crate) struct Suspect {
    session: SessionId,
    /// What it did.
    deed: String,
}

impl Cluster {
    /// Blocks that were admitted hold values that are not finite.
    pub(in crate::state) fn doubt_blocks(
        &mut self,
        job: &mut Job,
        header: &BlocksHeader,
        digests: &[BlockDigest],
    ) -> Result<PartialOutcome, Halt> {
        let (session, now) = (header.origin.session(), self.now.elapsed);
        let request = job.require_active_mut()?.require_request()?;
        let exchange = request.exchange.as_mut();
        let exchange = exchange.ok_or(Halt::Broken("admitted blocks belong to an exchange"))?;
        let (blocks, segment, id) = (header.blocks, header.segment, &header.request);
        if exchange.owns(session, blocks) {
            let is_its_own = exchange.added_as_announced(session, blocks);
            exchange.take_over_from(session, now);
            let name = self.workers.name(session);
            let deed = format!("its sum of {blocks} of {id} was not finite");
            // Otherwise a maker may have given it other blocks than it announced.
            if is_its_own {
                job.require_training()?.step.suspects.push(Suspect { session, deed });
            }
            let message =
                format!("a sum of worker {name} is not finite; the coordinator adds these blocks itself");
            self.note_of_worker(job, &message);
            self.gathered(job)?;
        } else if let Some(reason) = exchange.contradicts(segment, blocks, digests) {
            self.contradicted(job, session, segment, &format!("{reason}, of {id}"))?;
            return Ok(PartialOutcome::Refused(reason));
        } else {
            let deed = format!("its part of {blocks} of {segment} of {id} was not finite");
            self.end_exchange(job, session, deed)?;
        }
        Ok(PartialOutcome::Duplicate)
    }

    /// What a worker made is not finite: the partials of the request are computed again and go through the coordinator.
    pub(in crate::state) fn end_exchange(
        &mut self,
        job: &mut Job,
        session: SessionId,
        deed: String,
    ) -> Handled {
        let name = self.workers.name(session);
        tracing::warn!(job = %job.id(), worker = name, deed, "an exchange has ended");
        let training = job.require_training()?;
        training.step.not_finite.insert(name);
        // It explains sums that are not finite: their owners are not suspected any more.
        training.step.suspects = vec![Suspect { session, deed }];
        self.compute_again(job)
    }

    /// A worker's part of a segment, or its answer to an audit, is not what was announced of the segment. If the same worker
    /// has announced it, it is excluded, because one of the two is a lie. Else nobody can tell which of two workers was
    /// wrong. In both cases the partials of the request are computed again and go through the coordinator.
    pub(in crate::state) fn contradicted(
        &mut self,
        job: &mut Job,
        session: SessionId,
        segment: Segment,
        deed: &str,
    ) -> Handled {
        let now = self.now.elapsed;
        let request = job.require_active_mut()?.require_request()?;
        let by_itself =
            request.exchange.as_ref().is_some_and(|exchange| exchange.was_announced_by(segment, session));
        tracing::warn!(job = %job.id(), worker = self.workers.name(session), deed, "an exchange has ended");
        self.compute_again(job)?;
        if by_itself && let Some(member) = job.require_active()?.members.get(&session) {
            let account = member.account.clone();
            job.standings.note_wrong(&account, now);
            let reason = format!("{deed}: it contradicts itself");
            self.exclude(job, session, &reason, Ground::Failure)?;
        }
        Ok(())
    }

    /// Computes the partials of the open request again; they and those of the rest of the outer step go through the
    /// coordinator.
    fn compute_again(&mut self, job: &mut Job) -> Handled {
        let training = job.require_training()?;
        training.step.through_coordinator = true;
        let open = training.take_request();
        let (trainer, request) = open.ok_or(Halt::Broken("what is exchanged belongs to an open request"))?;
        let coordinates = request.coordinates;
        self.issue_request(job, trainer, coordinates.kind, coordinates.samples, None)
    }

    /// All values of a gradient are finite: workers that sent others for it are excluded.
    pub(in crate::state) fn exclude_suspects(&mut self, job: &mut Job) -> Handled {
        let now = self.now.elapsed;
        let suspects = std::mem::take(&mut job.require_training()?.step.suspects);
        for Suspect { session, deed } in suspects {
            // Classes may differ in what is finite.
            if job.mixes_classes() {
                return Ok(());
            }
            // It may have left, or made the job leave its workers.
            let Some(member) = job.active.as_ref().and_then(|active| active.members.get(&session)) else {
                continue;
            };
            let account = member.account.clone();
            job.standings.note_wrong(&account, now);
            let reason = format!("{deed}; computed anew, all values were");
            self.exclude(job, session, &reason, Ground::Failure)?;
        }
        Ok(())
    }
}
