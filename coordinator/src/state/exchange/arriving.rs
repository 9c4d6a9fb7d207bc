//! What workers say and send of an exchange: announcements, reports of owners, blocks and answers to audits.

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::ids::{RequestId, SessionId};
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_proto::transfer::{Checksum, sums_bytes};

use super::{Announcement, Part, WrongSum};
use crate::state::Core;
use crate::state::active::Active;
use crate::state::cluster::Cluster;
use crate::state::command::{AuditQuestion, Command, WorkerCommand};
use crate::state::event::{
    Addend, Admission, Audited, BlocksHeader, Computed, Origin, PartialHeader, PartialOutcome,
};
use crate::state::halt::{Halt, Handled};
use crate::state::job::Job;
use crate::state::partials::Form;

impl Core {
    /// Takes the announcement of a computed partial whose tensors are exchanged between workers.
    pub(in crate::state) fn take_computed(&mut self, origin: &Origin, computed: Computed) {
        let Computed { request: id, segment, sums, busy, digests } = computed;
        let Form { lengths, format } = match self.open_request(&id) {
            Some((form, request)) if request.exchange.is_some() => form,
            _ => return tracing::debug!(request = %id, %segment, "announcement not wanted"),
        };
        let lengths = lengths.map(|length| length as u64);
        let header = PartialHeader {
            origin: origin.clone(),
            request: id.clone(),
            segment,
            gradient: lengths.parameters,
            statistics: lengths.statistics,
            format,
            samples: sums.samples,
            busy,
        };
        let refused = match self.admit(&header) {
            Admission::Granted if sums.not_finite().is_some() => {
                return self.on_job(&id.job, |cluster, job| {
                    let deed = format!("its loss of {segment} of {id} was not finite");
                    cluster.end_exchange(job, origin.session(), deed)
                });
            }
            Admission::Granted => {
                let checksum = checksum_of(&digests, &sums);
                let announced = self.of_job(&id.job, |_, job| {
                    let request = job.require_active_mut()?.require_request()?;
                    Ok(request.announce(origin.session(), segment, digests))
                });
                match announced {
                    // Whether its tensors are finite shows in the sum.
                    Ok(Some(Announcement::Taken)) => {
                        match self.take(&header, Partial { sums, ..Partial::default() }, checksum, true) {
                            PartialOutcome::Refused(reason) => reason,
                            _ => return,
                        }
                    }
                    Ok(Some(Announcement::Differs)) => {
                        return self.on_job(&id.job, |cluster, job| {
                            let deed = format!("it announced two partials of {segment} of {id}");
                            cluster.contradicted(job, origin.session(), segment, &deed)
                        });
                    }
                    _ => "expected the digests of all blocks".to_owned(),
                }
            }
            Admission::Stale(reason) => {
                return tracing::debug!(request = %id, %segment, reason, "announcement not wanted");
            }
            Admission::Refused(reason) => reason,
        };
        self.on_job(&id.job, |cluster, job| {
            cluster.request_failed(job, origin.session(), &id, segment, &refused)
        });
    }

    /// Whether blocks are admitted, and how those that are to come lie in gradient and batch statistics.
    pub(in crate::state) fn admit_blocks(&self, header: &BlocksHeader) -> Result<Blocks, Admission> {
        if !self.cluster.is_current(&header.origin) {
            return Err(Admission::Stale(self.cluster.stale(&header.origin)));
        }
        let over = || Admission::Stale(format!("{} is over", header.request));
        let (_, request) = self.open_request(&header.request).ok_or_else(over)?;
        let exchange = request.exchange.as_ref();
        let exchange = exchange.ok_or_else(|| Admission::Stale("partials are uploaded whole".into()))?;
        let admitted = exchange.admit(header.origin.session(), header.segment, header.blocks);
        admitted.map_err(Admission::Stale)?;
        Ok(exchange.blocks_of(header.blocks))
    }

    /// Takes complete blocks, if they are still admitted.
    pub(in crate::state) fn take_blocks(
        &mut self,
        header: &BlocksHeader,
        part: Part,
        digests: &[BlockDigest],
        is_finite: bool,
    ) -> PartialOutcome {
        match self.admit_blocks(header) {
            Ok(blocks) if blocks.flat_lengths() == part.lengths() => {}
            Ok(_) => return PartialOutcome::Refused("blocks of other lengths than they have".into()),
            Err(Admission::Refused(reason)) => return PartialOutcome::Refused(reason),
            Err(Admission::Stale(reason)) => return PartialOutcome::Stale(reason),
            Err(Admission::Granted) => return PartialOutcome::Stale("the request is over".into()),
        }
        let session = header.origin.session();
        self.cluster.workers.note_heard(session, self.cluster.now.elapsed);
        let taken = self.of_job(&header.request.job, |cluster, job| {
            let request = job.require_active_mut()?.require_request()?;
            let exchange = request.exchange.as_mut();
            let exchange = exchange.ok_or(Halt::Broken("admitted blocks belong to an exchange"))?;
            if !is_finite {
                return cluster.doubt_blocks(job, header, digests);
            }
            let is_sum = exchange.owns(session, header.blocks);
            if !is_sum && let Some(reason) = exchange.contradicts(header.segment, header.blocks, digests) {
                cluster.contradicted(
                    job,
                    session,
                    header.segment,
                    &format!("{reason}, of {}", header.request),
                )?;
                return Ok(PartialOutcome::Refused(reason));
            }
            match exchange.take(session, header.segment, header.blocks, part, digests) {
                Ok(()) => cluster.gathered(job).map(|()| PartialOutcome::Accepted),
                Err(reason) => Ok(PartialOutcome::Refused(reason)),
            }
        });
        taken.unwrap_or_else(|_| PartialOutcome::Stale(format!("job {} has failed", header.request.job)))
    }
}

/// What distinguishes a partial that is exchanged between workers from another one of the same segment.
fn checksum_of(digests: &[BlockDigest], sums: &Sums) -> Checksum {
    let all = [BlockDigest::of_all(digests), BlockDigest::of(&sums_bytes(sums))];
    Checksum::from_be_bytes(*BlockDigest::of_all(&all).as_bytes())
}

impl Cluster {
    /// The owner of a range says what it has added.
    pub(in crate::state) fn reduced(
        &mut self,
        job: &mut Job,
        session: SessionId,
        id: &RequestId,
        blocks: BlockRange,
        addends: Vec<Addend>,
    ) -> Handled {
        let now = self.now.elapsed;
        let active = job.with_member(session)?;
        let request = active.request_of(id)?;
        if let Some(exchange) = &mut request.exchange {
            exchange.note_reduced(session, blocks, addends);
        }
        request.take_over_unfounded(now);
        self.gathered(job)
    }

    /// A maker answers the audit of an exchange.
    pub(in crate::state) fn audited(
        &mut self,
        job: &mut Job,
        session: SessionId,
        id: &RequestId,
        audited: &Audited,
    ) -> Handled {
        let active = job.with_member(session)?;
        if let Some(exchange) = &mut active.request_of(id)?.exchange
            && let Err(reason) = exchange.note_audited(session, audited)
        {
            return self.contradicted(job, session, audited.segment, &format!("audit of {id}: {reason}"));
        }
        self.gathered(job)
    }

    /// Goes on with the audit of a job's open exchange: asks makers, or compares what they have answered.
    ///
    /// # Errors
    /// If the owner did not add what it said: the job fails and names it.
    pub(in crate::state) fn continue_audit(&mut self, active: &mut Active) -> Handled {
        let now = self.now.elapsed;
        let Some(request) = active.open_request() else { return Ok(()) };
        let makers: Vec<_> = request.announced_by().collect();
        let Some(exchange) = &mut request.exchange else { return Ok(()) };
        exchange.note_settled(now);
        if let Err(WrongSum { owner, of }) = exchange.audit() {
            return Err(Halt::Failed(format!(
                "worker {} did not add block {} of {} as it said: its sum is not that of the partials",
                self.workers.name(owner),
                of.block,
                request.id
            )));
        }
        let Some((of, questions)) = exchange.questions(makers.into_iter()) else { return Ok(()) };
        for (session, segment) in questions {
            let question = AuditQuestion { request: request.id.clone(), segment, of };
            self.push(Command::Send(session, WorkerCommand::Audit(question)));
        }
        Ok(())
    }
}
