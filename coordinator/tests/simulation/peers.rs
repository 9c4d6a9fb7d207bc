//! The exchange of partials between workers: owners fetch what others have computed, add it and upload the sums. A pair of
//! workers may be unable to connect, and what a maker hands out may get lost or come late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::SessionId;
use lookbehind_common::layout::TensorKind;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::{MissingShard, Segment, reduce};
use lookbehind_coordinator::state::command::{Assignment, ExchangePlan, RequestKind};
use lookbehind_coordinator::state::event::{Addend, BlocksHeader, Computed, Origin, WorkerMessage};

use crate::dice::{Micros, seconds};
use crate::executor::Context;
use crate::fetches::Fetch;
use crate::lies::Lie;
use crate::streams::identity_of;
use crate::transfers::{Bulk, Upload, What};
use crate::weights::WeightsFetch;
use crate::world::World;

/// Elements of a block, so that the small model has several.
pub(crate) const BLOCK: usize = 4;
/// How long an owner tries to reach a maker.
const TRIES: Micros = seconds(1);

/// What two flat buffers hold of a range of blocks.
pub(crate) type Part = ModelState<FlatBuffer>;

/// Blocks that are uploaded.
#[derive(Debug)]
pub(crate) struct BlocksUpload {
    pub(crate) header: BlocksHeader,
    pub(crate) part: Part,
    pub(crate) digests: Vec<BlockDigest>,
}

/// What a worker knows of the exchange of its request.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) context: Context,
    shards: u32,
    pub(crate) blocks: Blocks,
    pub(crate) plan: Arc<ExchangePlan>,
    pub(crate) computed: BTreeMap<Segment, Partial>,
    /// What was fetched of each range, with the digests of its blocks.
    pub(crate) fetched: BTreeMap<BlockRange, BTreeMap<Segment, (Part, Vec<BlockDigest>)>>,
    asked: BTreeSet<(BlockRange, Segment, SessionId)>,
    done: BTreeSet<BlockRange>,
    delivered: BTreeSet<(BlockRange, Segment)>,
    /// Owners that wait for a segment to be computed here.
    pub(crate) waiting: Vec<Fetch>,
    /// Ranges of the weights that this worker passes on.
    pub(crate) weights: BTreeMap<BlockRange, Part>,
    /// Workers that wait for these.
    pub(crate) awaited: Vec<WeightsFetch>,
}

/// The values of a range of blocks of a partial.
pub(crate) fn cut(blocks: &Blocks, range: BlockRange, partial: &Partial) -> Part {
    let elements = blocks.elements(range);
    ModelState {
        parameters: partial.gradient[elements.parameters].to_vec().into(),
        statistics: partial.statistics[elements.statistics].to_vec().into(),
    }
}

impl Round {
    /// The own session of the worker.
    fn own(&self) -> SessionId {
        self.context.fencing_token.session
    }

    pub(crate) fn digests(&self, partial: &Partial) -> Vec<BlockDigest> {
        let values = ModelState { parameters: &partial.gradient[..], statistics: &partial.statistics[..] };
        self.blocks.digests(values)
    }

    fn owned(&self) -> Vec<BlockRange> {
        let own = |(range, owner): &(BlockRange, Option<SessionId>)| {
            (*owner == Some(self.own()) && !self.done.contains(range)).then_some(*range)
        };
        self.plan.ranges.iter().filter_map(own).collect()
    }

    /// The sum of a range and what it was made of, once enough was fetched.
    fn sum(&self, range: BlockRange) -> Option<(Part, Vec<Addend>)> {
        let fetched = self.fetched.get(&range)?;
        let mut used = Vec::new();
        let format = self.blocks.format(TensorKind::Parameter);
        let total = reduce::<MissingShard>(Segment::root(self.shards), format, &mut |segment| {
            Ok(fetched.get(&segment).map(|(part, digests)| {
                used.push(Addend { segment, blocks: range, digest: BlockDigest::of_all(digests) });
                Partial {
                    gradient: part.parameters.clone(),
                    statistics: part.statistics.clone(),
                    ..Partial::default()
                }
            }))
        });
        let total = total.ok()?;
        Some((ModelState { parameters: total.gradient, statistics: total.statistics }, used))
    }
}

impl World {
    /// A worker takes part in the exchange of an assignment, if it has one.
    pub(crate) fn join_exchange(&mut self, number: usize, context: &Context, assignment: &Assignment) {
        let worker = &mut self.workers[number];
        let (round, spec) = (&mut worker.round, worker.executor.spec());
        let Some((plan, spec)) = assignment.exchange.as_ref().zip(spec) else {
            *round = None;
            return;
        };
        if round.as_ref().is_some_and(|round| round.plan.ticket == plan.ticket) {
            return;
        }
        let lengths = crate::toy::lengths(spec);
        *round = Some(Round {
            context: context.clone(),
            shards: assignment.coordinates.shards,
            blocks: Blocks::of_size(lengths, BLOCK).of_gradients(spec.train.exchange),
            plan: Arc::clone(plan),
            computed: BTreeMap::new(),
            fetched: BTreeMap::new(),
            asked: BTreeSet::new(),
            done: BTreeSet::new(),
            delivered: BTreeSet::new(),
            waiting: Vec::new(),
            weights: BTreeMap::new(),
            awaited: Vec::new(),
        });
    }

    /// The exchange has changed.
    pub(crate) fn change_exchange(&mut self, number: usize, plan: Arc<ExchangePlan>) {
        if let Some(round) =
            self.workers[number].round.as_mut().filter(|round| round.plan.ticket == plan.ticket)
        {
            round.plan = plan;
            self.continue_exchange(number);
        }
    }

    /// A worker has computed a partial; `false` if it is to be uploaded instead.
    pub(crate) fn offer_partial(&mut self, number: usize, assignment: &Assignment, upload: &Upload) -> bool {
        let Some(round) = &mut self.workers[number].round else { return false };
        if assignment.exchange.is_none() || matches!(assignment.coordinates.kind, RequestKind::Test(_)) {
            return false;
        }
        let header = &upload.header;
        let message = WorkerMessage::Computed(Computed {
            request: header.request.clone(),
            segment: header.segment,
            sums: upload.partial.sums,
            busy: header.busy,
            digests: round.digests(&upload.partial),
        });
        round.computed.insert(header.segment, upload.partial.clone());
        let context = round.context.clone();
        let (asked, others) =
            std::mem::take(&mut round.waiting).into_iter().partition(|fetch| fetch.segment == header.segment);
        round.waiting = others;
        self.say(number, &context, message);
        let asked: Vec<Fetch> = asked;
        for fetch in asked {
            self.fetch_up(fetch);
        }
        self.continue_exchange(number);
        true
    }

    /// Begins all fetches and uploads that can begin.
    fn continue_exchange(&mut self, number: usize) {
        let start = self.workers[number].start;
        let Some(round) = self.workers[number].round.as_mut() else { return };
        let mut fetches = Vec::new();
        for range in round.owned() {
            let known: BTreeSet<Segment> =
                round.asked.iter().filter(|(of, ..)| *of == range).map(|(_, segment, _)| *segment).collect();
            let mut first = BTreeSet::new();
            for (segment, maker) in round.plan.makers.clone() {
                let is_wanted = known.contains(&segment) || first.insert(segment);
                if is_wanted && round.asked.insert((range, segment, maker)) {
                    fetches.push((range, segment, maker, round.plan.ticket));
                }
            }
        }
        let mut uploads = Vec::new();
        let taken_over =
            round.plan.ranges.iter().filter(|(_, owner)| owner.is_none()).map(|(range, _)| *range);
        for range in taken_over.collect::<Vec<_>>() {
            for (segment, partial) in &round.computed {
                if round.delivered.insert((range, *segment)) {
                    uploads.push((range, *segment, cut(&round.blocks, range, partial)));
                }
            }
        }
        for (range, segment, part) in uploads {
            self.upload_blocks(number, range, segment, part);
        }
        for (range, segment, session, ticket) in fetches {
            let maker =
                self.workers.iter().position(|worker| {
                    worker.session.as_ref().and_then(|session| session.fencing_token.as_ref()).is_some_and(
                        |token| token.session == session && token.incarnation.0 == self.incarnation,
                    )
                });
            let fetch = Fetch {
                owner: number,
                owner_start: start,
                maker: maker.unwrap_or(number),
                maker_session: session,
                ticket,
                range,
                segment,
                until: self.now + TRIES,
                answer: None,
            };
            self.send_fetch(fetch);
        }
        self.add_up(number);
    }

    /// Adds and uploads the ranges for which everything was fetched.
    pub(crate) fn add_up(&mut self, number: usize) {
        let Some(round) = self.workers[number].round.as_mut() else { return };
        let mut sums = Vec::new();
        for range in round.owned() {
            if let Some((sum, addends)) = round.sum(range) {
                round.done.insert(range);
                sums.push((range, sum, addends));
            }
        }
        let (context, request) = (round.context.clone(), round.plan.request.clone());
        let root = Segment::root(round.shards);
        for (range, mut sum, mut addends) in sums {
            let lie =
                self.workers[number].lie.filter(|lie| matches!(lie, Lie::Sum | Lie::Twice | Lie::SecretSum));
            if lie.is_some() {
                sum.parameters.iter_mut().chain(sum.statistics.iter_mut()).for_each(|value| *value += 1.0);
            }
            match lie {
                Some(Lie::SecretSum) => self.invariants.deceived(&request.job),
                Some(Lie::Twice) => addends.extend(addends.first().cloned()),
                // It has left something out, and says so.
                Some(_) => drop(addends.pop()),
                None => {}
            }
            self.upload_blocks(number, range, root, sum);
            let request = request.clone();
            self.say(number, &context, WorkerMessage::Reduced { request, blocks: range, addends });
        }
    }

    /// A part that the coordinator has taken over is uploaded until it is there, or not wanted any more.
    pub(crate) fn deliver_again(&mut self, number: usize, bulk: &Bulk) {
        let (What::OfferBlocks(upload) | What::Blocks(upload)) = &bulk.what else { return };
        let round = self.workers[number].round.as_ref();
        let is_wanted = round.is_some_and(|round| {
            round.plan.request == upload.header.request
                && round.plan.ranges.contains(&(upload.header.blocks, None))
        });
        if is_wanted {
            self.begin_transfer(number, &bulk.fencing_token, What::OfferBlocks(Arc::clone(upload)));
        }
    }

    fn upload_blocks(&mut self, number: usize, blocks: BlockRange, segment: Segment, part: Part) {
        let Some(round) = self.workers[number].round.as_ref() else { return };
        let fencing_token = round.context.fencing_token.clone();
        let origin = Origin { fencing_token: fencing_token.clone(), identity: identity_of(number) };
        let header = BlocksHeader { origin, request: round.plan.request.clone(), segment, blocks };
        let digests = round.blocks.cut(blocks).digests(part.values());
        let upload = BlocksUpload { header, part, digests };
        self.begin_transfer(number, &fencing_token, What::OfferBlocks(Arc::new(upload)));
    }
}
