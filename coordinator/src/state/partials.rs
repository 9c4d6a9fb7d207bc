//! Admission and acceptance of partials.

use std::collections::BTreeMap;

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::ids::{JobId, RequestId, SessionId};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{Visit, partial_lengths};
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::{MissingShard, Segment, reduce};
use lookbehind_proto::transfer::{Checksum, sums_bytes};

use super::Core;
use super::active::Active;
use super::cluster::Cluster;
use super::command::{Coordinates, RequestKind};
use super::event::{Addend, Admission, BlocksHeader, Computed, Origin, PartialHeader, PartialOutcome};
use super::exchange::Part;
use super::halt::{Halt, Handled};
use super::job::{Ground, Job};
use super::leaving::logged;
use super::request::{Acceptance, Request};

/// The job fails when computing the same segment has failed this many times, on workers of more than one party if there
/// are.
const MAX_FAILURES: u32 = 3;

impl Core {
    /// Whether a worker may download weights of the job.
    pub(super) fn admit_download(&mut self, origin: &Origin, id: &JobId) -> Admission {
        if !self.cluster.is_current(origin) {
            return Admission::Stale(self.cluster.stale(origin));
        }
        let session = origin.session();
        let active = self.jobs.get_mut(id).and_then(|job| job.active.as_mut());
        let Some(active) = active.filter(|active| active.members.contains_key(&session)) else {
            return Admission::Stale(format!("session {session} does not serve job {id}"));
        };
        if let Some(request) = active.open_request() {
            request.note_download(session);
        }
        Admission::Granted
    }

    /// A worker's download waited for others until now: that time is not the worker's.
    pub(super) fn excuse_waiting(&mut self, origin: &Origin, id: &JobId) {
        if !self.cluster.is_current(origin) {
            return;
        }
        let active = self.jobs.get_mut(id).and_then(|job| job.active.as_mut());
        if let Some(request) = active.and_then(Active::open_request) {
            request.excuse_waiting(origin.session(), self.cluster.now.elapsed);
        }
    }

    /// Whether a partial is admitted. Decided on the header, so that an unwanted partial costs no transfer.
    pub(super) fn admit_partial(&self, header: &PartialHeader) -> Admission {
        match self.open_request(&header.request) {
            Some((_, request)) if request.exchange.is_some() => {
                Admission::Stale(format!("{} is exchanged between workers", header.request))
            }
            _ => self.admit(header),
        }
    }

    /// Whether a worker was asked for this partial, and it has the lengths that it should have.
    fn admit(&self, header: &PartialHeader) -> Admission {
        if !self.cluster.is_current(&header.origin) {
            return Admission::Stale(self.cluster.stale(&header.origin));
        }
        let Some((lengths, request)) = self.open_request(&header.request) else {
            return Admission::Stale(format!("{} is over", header.request));
        };
        if !request.is_assigned(header.origin.session(), header.segment) {
            return Admission::Stale(format!(
                "{} of {} are not assigned to session {}",
                header.segment,
                header.request,
                header.origin.session()
            ));
        }
        let samples = samples_in(&request.coordinates, header.segment);
        let expected = (lengths.parameters as u64, lengths.statistics as u64, samples);
        let found = (header.gradient, header.statistics, header.samples);
        if expected != found || !header.busy.is_sound() {
            return Admission::Refused(format!(
                "partial of {}: expected {expected:?} elements in the gradient, elements in the batch statistics and \
                 samples, found {found:?} in {} s and {} s for data",
                header.segment, header.busy.compute, header.busy.data
            ));
        }
        Admission::Granted
    }

    /// The request with this identity, if its job waits for it, and the lengths of its partials.
    fn open_request(&self, id: &RequestId) -> Option<(ModelState<usize>, &Request)> {
        let job = self.jobs.get(&id.job)?;
        let training = job.active.as_ref()?.training()?;
        let request = training.request().filter(|request| request.id == *id)?;
        let lengths = match request.coordinates.kind {
            RequestKind::Gradient { .. } => {
                partial_lengths(&job.spec.optimizer.method, &training.description.layout)
            }
            RequestKind::Test(_) => ModelState::default(),
        };
        Some((lengths, request))
    }

    /// Why the sums of a partial cannot be those of the segment that it was admitted for; `None` if they can.
    fn impossible(&self, header: &PartialHeader, sums: &Sums) -> Option<String> {
        let (segment, Sums { correct, samples, visits, .. }) = (header.segment, *sums);
        if correct > samples {
            return Some(format!(
                "partial of {segment}: expected at most {samples} correct samples, one for each, found {correct}"
            ));
        }
        let job = self.jobs.get(&header.request.job)?;
        let (_, request) = self.open_request(&header.request)?;
        let is_gradient = matches!(request.coordinates.kind, RequestKind::Gradient { .. });
        let is_visit = is_gradient && Visit::of(&job.spec.optimizer.method).is_some();
        (is_visit != visits.is_some()).then(|| {
            let (expected, found) = if is_visit { ("", "none") } else { ("no ", "some") };
            format!("partial of {segment}: expected {expected}sums of visits, found {found}")
        })
    }

    /// Takes a complete partial, if it is still admitted: much may have happened during the transfer.
    pub(super) fn take_partial(
        &mut self,
        header: &PartialHeader,
        partial: Partial,
        checksum: Checksum,
        is_finite: bool,
    ) -> PartialOutcome {
        match self.admit_partial(header) {
            Admission::Granted => {}
            Admission::Stale(reason) => return PartialOutcome::Stale(reason),
            Admission::Refused(reason) => return PartialOutcome::Refused(reason),
        }
        self.take(header, partial, checksum, is_finite)
    }

    /// Takes an admitted partial; one that is exchanged between workers comes without its tensors.
    fn take(
        &mut self,
        header: &PartialHeader,
        partial: Partial,
        checksum: Checksum,
        is_finite: bool,
    ) -> PartialOutcome {
        if let Some(reason) = self.impossible(header, &partial.sums) {
            return PartialOutcome::Refused(reason);
        }
        // A complete upload shows that the worker is alive, as a message does.
        self.cluster.workers.note_heard(header.origin.session(), self.cluster.now.elapsed);
        let job = &header.request.job;
        let taken = self.of_job(job, |cluster, job| {
            let outcome = if is_finite { None } else { cluster.doubt(job, header)? };
            match outcome {
                Some(outcome) => Ok(outcome),
                None => cluster.take_admitted(job, header, partial, checksum, is_finite),
            }
        });
        taken.unwrap_or_else(|_| PartialOutcome::Stale(format!("job {job} has failed")))
    }
}

impl Core {
    /// Takes the announcement of a computed partial whose tensors are exchanged between workers.
    pub(super) fn take_computed(&mut self, origin: &Origin, computed: Computed) {
        let Computed { request: id, segment, sums, busy, digests } = computed;
        let lengths = match self.open_request(&id) {
            Some((lengths, request)) if request.exchange.is_some() => lengths,
            _ => return tracing::debug!(request = %id, %segment, "announcement not wanted"),
        };
        let lengths = lengths.map(|length| length as u64);
        let header = PartialHeader {
            origin: origin.clone(),
            request: id.clone(),
            segment,
            gradient: lengths.parameters,
            statistics: lengths.statistics,
            samples: sums.samples,
            busy,
        };
        let refused = match self.admit(&header) {
            Admission::Granted => {
                let checksum = checksum_of(&digests, &sums);
                let announced = self.of_job(&id.job, |_, job| {
                    Ok(job.require_active_mut()?.require_request()?.announce(segment, digests))
                });
                if announced == Ok(true) {
                    match // Whether its tensors are finite shows in the sum.
                    self.take(&header, Partial { sums, ..Partial::default() }, checksum, true) {
                        PartialOutcome::Refused(reason) => reason,
                        _ => return,
                    }
                } else {
                    "expected the digests of all blocks".to_owned()
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
    pub(super) fn admit_blocks(&self, header: &BlocksHeader) -> Result<Blocks, Admission> {
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
    pub(super) fn take_blocks(
        &mut self,
        header: &BlocksHeader,
        part: Part,
        digests: &[BlockDigest],
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
    pub(super) fn reduced(
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

    /// Takes an admitted partial.
    fn take_admitted(
        &mut self,
        job: &mut Job,
        header: &PartialHeader,
        partial: Partial,
        checksum: Checksum,
        is_finite: bool,
    ) -> Result<PartialOutcome, Halt> {
        let now = self.now.elapsed;
        let session = header.origin.session();
        let active = job.require_active_mut()?;
        let request = active.require_request()?;
        if let Err(other) = request.comparisons.deliver(header.segment, session, checksum) {
            return Ok(self.conflict(job, header, other));
        }
        let acceptance = request.accept(header.segment, partial, checksum, session);
        let used = acceptance == Acceptance::Accepted;
        request.record_delivery(session, header.segment, header.busy, used, now);
        let all_done = request.note_done(session, header.segment, header.busy, now)?;
        request.note_announced(now);
        let member = active.members.get_mut(&session);
        let member =
            member.ok_or(Halt::Broken("a worker that is asked for shards is a member of the job"))?;
        member.shards_done += u64::from(header.segment.len());
        member.transfers.ended_well();
        if let Some((shards, seconds)) = all_done {
            member.measure(shards, seconds);
        }
        if used && is_finite {
            self.settle_doubts(job, header)?;
        }
        match acceptance {
            Acceptance::Accepted => self.gathered(job).map(|()| PartialOutcome::Accepted),
            // It may be the second of two computations that are compared, and the last that was missing.
            Acceptance::Duplicate => self.gathered(job).map(|()| PartialOutcome::Duplicate),
            Acceptance::Conflict(other) => Ok(self.conflict(job, header, other)),
        }
    }

    /// Two workers sent different bytes for the same segment. Within one compute class neither can be trusted any more:
    /// the job fails. If the job mixes classes, the first partial counts.
    fn conflict(&mut self, job: &mut Job, header: &PartialHeader, other: SessionId) -> PartialOutcome {
        if job.mixes_classes() {
            return PartialOutcome::Duplicate;
        }
        let reason = format!(
            "workers {} and {} disagree on {} of {}: their machines do not compute alike",
            self.workers.name(other),
            self.workers.name(header.origin.session()),
            header.segment,
            header.request
        );
        self.fail(job, &reason);
        PartialOutcome::Conflict(reason)
    }

    /// A worker could not compute a segment: the segment goes to another worker, a limited number of times.
    pub(super) fn request_failed(
        &mut self,
        job: &mut Job,
        session: SessionId,
        id: &RequestId,
        segment: Segment,
        reason: &str,
    ) -> Handled {
        let name = self.workers.name(session);
        let party = self.workers.party(session);
        let active = job.with_member(session)?;
        let request = active.request_of(id)?;
        if !request.is_assigned(session, segment) {
            return Err(Halt::Stale("the worker is not asked for that any more"));
        }
        let (failures, parties) = request.fail(session, party, segment);
        tracing::warn!(job = %id.job, worker = name, shard = %segment, reason = logged(reason), "request failed");
        // One party may fail as often as it likes, where others can compute the segment.
        if failures >= MAX_FAILURES && (parties > 1 || active.members.len() < 2) {
            return Err(Halt::Failed(format!("{segment} of {id} failed on worker {name}: {reason}")));
        }
        if active.members.len() < 2 {
            // There is no other worker: the same one tries again.
            self.assign_unassigned(active);
            return self.gathered(job);
        }
        self.exclude(job, session, reason, Ground::Failure)
    }
}

/// Number of samples in the shards of a segment; 0 for a segment outside the request.
fn samples_in(coordinates: &Coordinates, segment: Segment) -> u64 {
    let range =
        |shard| lookbehind_common::reduction::shard_range(coordinates.samples, coordinates.shards, shard);
    if segment.end > coordinates.shards || segment.is_empty() {
        return 0;
    }
    range(segment.end - 1).end - range(segment.first).start
}

/// Reduces the partials of a test request, which hold sums but no tensors.
pub(super) fn reduce_sums(shards: u32, mut parts: BTreeMap<Segment, Partial>) -> Result<Sums, MissingShard> {
    let total = reduce::<MissingShard>(Segment::root(shards), &mut |segment| Ok(parts.remove(&segment)))?;
    Ok(total.sums)
}
