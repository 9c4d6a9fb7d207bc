//! Admission and acceptance of partials.

use std::collections::BTreeMap;

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::ids::{JobId, RequestId, SessionId};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::Visit;
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::{MissingShard, Segment, reduce};
use lookbehind_proto::transfer::Checksum;

use super::Core;
use super::active::Active;
use super::cluster::Cluster;
use super::command::{Coordinates, RequestKind};
use super::event::{Admission, Origin, PartialHeader, PartialOutcome};
use super::halt::{Halt, Handled};
use super::job::{Ground, Job};
use super::leaving::logged;
use super::request::{Acceptance, Done, Request};

/// The job fails when computing the same segment has failed this many times, on workers of more than one party if there
/// are.
const MAX_FAILURES: u32 = 3;

/// How the partials of a request look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Elements of gradient and batch statistics.
    pub(super) lengths: ModelState<usize>,
    /// Format in which gradients are sent.
    pub(super) format: ExchangeFormat,
}

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
    pub(super) fn admit(&self, header: &PartialHeader) -> Admission {
        if !self.cluster.is_current(&header.origin) {
            return Admission::Stale(self.cluster.stale(&header.origin));
        }
        let Some((Form { lengths, format }, request)) = self.open_request(&header.request) else {
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
        if header.format != format {
            return Admission::Refused(format!(
                "partial of {}: expected a gradient in {}, as train.exchange says, found one in {}",
                header.segment,
                format.as_str(),
                header.format.as_str()
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

    /// The request with this identity, if its job waits for it, and the form of its partials.
    pub(super) fn open_request(&self, id: &RequestId) -> Option<(Form, &Request)> {
        let job = self.jobs.get(&id.job)?;
        let training = job.active.as_ref()?.training()?;
        let request = training.request().filter(|request| request.id == *id)?;
        let lengths = match request.coordinates.kind {
            RequestKind::Gradient { .. } => training.partials,
            RequestKind::Test(_) => ModelState::default(),
        };
        Some((Form { lengths, format: job.spec.train.exchange }, request))
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
    pub(super) fn take(
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

impl Cluster {
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
        // A shard of a test takes another time, which says nothing of the division of a gradient.
        let is_gradient = request.is_of_gradient();
        let all_done = request.note_done(session, header.segment, header.busy, now)?;
        request.note_announced(now);
        let member = active.members.get_mut(&session);
        let member =
            member.ok_or(Halt::Broken("a worker that is asked for shards is a member of the job"))?;
        member.shards_done += u64::from(header.segment.len());
        member.transfers.ended_well();
        if let Some(Done { shards, seconds, computing }) = all_done.filter(|_| is_gradient) {
            member.measured.note(shards, seconds, computing);
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
    let root = Segment::root(shards);
    // There is no gradient to be rounded.
    let total = reduce::<MissingShard>(root, ExchangeFormat::F32, &mut |segment| Ok(parts.remove(&segment)))?;
    Ok(total.sums)
}
