//! Bulk transfers, which do not use the control streams: delayed, lost and retried, and so sometimes done twice.

use std::sync::Arc;

use lookbehind_common::blocks::BlockRange;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{FencingToken, JobId};
use lookbehind_common::model_state::{ModelState, Weights};
use lookbehind_common::partial::Partial;
use lookbehind_coordinator::state::event::{Admission, Event, Origin, PartialHeader, PartialOutcome, Reply};
use lookbehind_proto::transfer::{Checksum, sums_bytes};

use crate::agenda::ScheduledEvent;
use crate::dice::{Micros, millis, seconds};
use crate::lies::Lie;
use crate::peers::BlocksUpload;
use crate::process::Caller;
use crate::streams::identity_of;
use crate::world::World;

/// Number of attempts before a transfer is given up, as in real workers.
const ATTEMPTS: u32 = 3;
/// Timeout of an attempt.
const TIMEOUT: Micros = seconds(8);
/// Number of uploads kept for stale messages.
const PAST: usize = 16;

/// A partial that is uploaded.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) header: PartialHeader,
    pub(crate) partial: Partial,
    pub(crate) checksum: Checksum,
}

impl Upload {
    pub(crate) fn new(header: PartialHeader, partial: Partial) -> Self {
        let parts = [&partial.gradient, &partial.statistics];
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.as_bytes()).copied().collect();
        bytes.extend(sums_bytes(&partial.sums));
        Self { header, partial, checksum: xxhash_rust::xxh3::xxh3_128(&bytes) }
    }
}

/// Content of a transfer.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Asks whether a partial is admitted.
    Offer(Arc<Upload>),
    /// Uploads the partial.
    Partial(Arc<Upload>),
    /// Asks whether blocks are admitted.
    OfferBlocks(Arc<BlocksUpload>),
    /// Uploads the blocks.
    Blocks(Arc<BlocksUpload>),
    /// Asks whether initial weights are admitted.
    OfferState(JobId, Arc<ModelState<FlatBuffer>>),
    /// Uploads the initial weights.
    State(JobId, Arc<ModelState<FlatBuffer>>),
    /// Downloads this version of the weights.
    Weights(JobId, u64),
    /// Downloads some blocks of this version of the weights.
    WeightBlocks(JobId, u64, BlockRange),
}

/// One attempt at a transfer.
#[derive(Clone, Debug)]
pub(crate) struct Bulk {
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) worker: usize,
    pub(crate) start: u64,
    pub(crate) fencing_token: FencingToken,
    /// Incarnation that has answered its first request; another one cannot continue it.
    pub(crate) served_by: Option<u64>,
    pub(crate) what: What,
}

/// The answer to an attempt.
#[derive(Debug)]
pub(crate) struct BulkAnswer {
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) answer: Answer,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The upload has arrived or is not needed.
    Done,
    /// The weights, if this version is still served.
    Weights(Option<Weights>),
    /// No answer arrived in time.
    TimedOut,
}

impl World {
    /// Begins a transfer from or to a worker.
    pub(crate) fn begin_transfer(&mut self, worker: usize, fencing_token: &FencingToken, what: What) {
        self.transfers_made += 1;
        if let What::Offer(upload) = &what {
            self.past.push_back(Arc::clone(upload));
            if self.past.len() > PAST {
                self.past.pop_front();
            }
        }
        let start = self.workers[worker].start;
        let (number, fencing_token) = (self.transfers_made, fencing_token.clone());
        self.attempt(Bulk { number, attempt: 1, worker, start, fencing_token, served_by: None, what });
    }

    fn attempt(&mut self, bulk: Bulk) {
        let timeout = BulkAnswer { number: bulk.number, attempt: bulk.attempt, answer: Answer::TimedOut };
        self.workers[bulk.worker].transfers.insert(bulk.number, bulk.clone());
        self.agenda.add(self.now + TIMEOUT, ScheduledEvent::BulkDown(bulk.worker, bulk.start, timeout));
        self.bulk_leg(bulk.worker, |_| ScheduledEvent::BulkUp(bulk));
    }

    /// Sends one message of a transfer, which is delayed or lost.
    fn bulk_leg(&mut self, worker: usize, make: impl FnOnce(Micros) -> ScheduledEvent) {
        let (now, healed) = (self.now, self.healed);
        let at = &self.workers[worker];
        let (lossy, slow) = (!healed && at.bulk_lossy_until > now, !healed && at.bulk_slow_until > now);
        if self.dice.percent(if lossy { 30 } else { 0 }) {
            return;
        }
        let delay =
            if slow { self.dice.between(millis(1), seconds(12)) } else { self.dice.between(200, millis(15)) };
        self.agenda.add(now + delay, make(delay));
    }

    /// The request of a transfer reaches the coordinator.
    pub(crate) fn bulk_up(&mut self, mut bulk: Bulk) {
        let cut = self.workers[bulk.worker].up_cut_until;
        if cut > self.now {
            return self.agenda.add(cut, ScheduledEvent::BulkUp(bulk));
        }
        if self.process.is_none() || bulk.served_by.is_some_and(|incarnation| incarnation != self.incarnation)
        {
            return;
        }
        bulk.served_by = Some(self.incarnation);
        let what = bulk.what.clone();
        let is_finite = self.workers[bulk.worker].lie != Some(Lie::NotFinite);
        let origin = Origin { fencing_token: bulk.fencing_token.clone(), identity: identity_of(bulk.worker) };
        self.ask(Caller::Bulk(bulk), |reply_to| match what {
            What::Offer(upload) => Event::PartialOffered(reply_to, upload.header.clone()),
            What::Partial(upload) => Event::PartialArrived {
                reply_to,
                header: upload.header.clone(),
                partial: upload.partial.clone(),
                checksum: upload.checksum,
                is_finite: true,
            },
            What::OfferBlocks(upload) => Event::BlocksOffered(reply_to, upload.header.clone()),
            What::Blocks(upload) => Event::BlocksArrived {
                reply_to,
                header: upload.header.clone(),
                part: upload.part.clone(),
                digests: upload.digests.clone(),
                is_finite,
            },
            What::OfferState(job, state) => Event::InitialStateOffered {
                reply_to,
                origin,
                job,
                lengths: state.lengths().map(|length| length as u64),
            },
            What::State(job, state) => {
                Event::InitialStateArrived { reply_to, origin, job, weights: (*state).clone() }
            }
            What::Weights(job, _) | What::WeightBlocks(job, ..) => {
                Event::WeightsAsked { reply_to, origin, job }
            }
        });
    }

    /// The core has answered the request of a transfer.
    pub(crate) fn answer_bulk(&mut self, bulk: Bulk, reply: Reply) {
        let next = match (&bulk.what, reply) {
            (_, Reply::Admission(Admission::Refused(reason))) => {
                return self.invariants.fail(format!("a good worker was refused: {reason}"));
            }
            (_, Reply::BlocksAdmission(Err(Admission::Refused(reason)))) => {
                return self.invariants.fail(format!("a good worker was refused: {reason}"));
            }
            (What::OfferBlocks(upload), Reply::BlocksAdmission(Ok(_))) => What::Blocks(Arc::clone(upload)),
            (_, Reply::Partial(PartialOutcome::Conflict(reason))) => return self.invariants.fail(reason),
            (What::Offer(upload), Reply::Admission(Admission::Granted)) => What::Partial(Arc::clone(upload)),
            (What::OfferState(job, state), Reply::Admission(Admission::Granted)) => {
                What::State(job.clone(), Arc::clone(state))
            }
            (
                What::Weights(job, version) | What::WeightBlocks(job, version, _),
                Reply::Admission(admission),
            ) => {
                let served = self.process.as_ref().and_then(|process| process.published.get(job));
                let granted = admission == Admission::Granted;
                let weights = served.filter(|(served, _)| granted && served == version);
                let answer = Answer::Weights(weights.map(|(_, weights)| weights.clone()));
                return self.respond(bulk, answer);
            }
            _ => return self.respond(bulk, Answer::Done),
        };
        let (worker, next) = (bulk.worker, Bulk { what: next, ..bulk });
        self.bulk_leg(worker, |_| ScheduledEvent::BulkUp(next));
    }

    fn respond(&mut self, bulk: Bulk, answer: Answer) {
        let answer = BulkAnswer { number: bulk.number, attempt: bulk.attempt, answer };
        self.bulk_leg(bulk.worker, |_| ScheduledEvent::BulkDown(bulk.worker, bulk.start, answer));
    }

    /// An answer, or the timeout, reaches the worker.
    pub(crate) fn bulk_down(&mut self, number: usize, start: u64, answer: BulkAnswer) {
        let worker = &mut self.workers[number];
        if worker.down_cut_until > self.now && !matches!(answer.answer, Answer::TimedOut) {
            let until = worker.down_cut_until;
            return self.agenda.add(until, ScheduledEvent::BulkDown(number, start, answer));
        }
        if worker.start != start
            || worker.transfers.get(&answer.number).is_none_or(|t| t.attempt != answer.attempt)
        {
            return;
        }
        let Some(bulk) = worker.transfers.remove(&answer.number) else { return };
        match answer.answer {
            Answer::TimedOut if bulk.attempt < ATTEMPTS => {
                self.attempt(Bulk { attempt: bulk.attempt + 1, served_by: None, ..bulk });
            }
            Answer::TimedOut => {
                self.report_failure(number, &bulk);
                self.transferred(number, bulk.what, None);
            }
            Answer::Done => self.transferred(number, bulk.what, None),
            Answer::Weights(weights) => self.transferred(number, bulk.what, weights),
        }
    }
}
