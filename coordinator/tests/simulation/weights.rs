//! Weights that workers get by ranges: what they own from the coordinator, the rest from the other owners, or from the
//! coordinator if an owner does not deliver in time.

use std::collections::BTreeSet;
use std::sync::Arc;

use lookbehind_common::blocks::{BlockRange, Blocks};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{SessionId, Ticket};
use lookbehind_common::model_state::{ModelState, Weights};
use lookbehind_coordinator::state::command::Assignment;

use crate::agenda::ScheduledEvent;
use crate::dice::{Micros, seconds};
use crate::executor::Context;
use crate::peers::{BLOCK, Part};
use crate::transfers::What;
use crate::world::World;

/// How long an owner is waited for.
const PATIENCE: Micros = seconds(1);

/// One version of the weights, of which some blocks may be missing.
#[derive(Debug)]
pub(crate) struct Gathering {
    context: Context,
    assignment: Assignment,
    ticket: Ticket,
    blocks: Blocks,
    values: ModelState<Vec<f32>>,
    missing: BTreeSet<u32>,
}

/// A fetch of a range of the weights, on its way to the owner or back.
#[derive(Clone, Debug)]
pub(crate) struct WeightsFetch {
    by: usize,
    by_start: u64,
    from: SessionId,
    ticket: Ticket,
    range: BlockRange,
    /// The answer, once the owner has given it.
    answer: Option<Part>,
}

fn cut(blocks: &Blocks, range: BlockRange, weights: ModelState<&[f32]>) -> Part {
    let elements = blocks.elements(range);
    ModelState {
        parameters: weights.parameters[elements.parameters].to_vec().into(),
        statistics: weights.statistics[elements.statistics].to_vec().into(),
    }
}

impl World {
    /// A worker begins to get the weights of an assignment by ranges; `false` if it has to get them as a whole.
    pub(crate) fn gather_weights(
        &mut self,
        number: usize,
        context: &Context,
        assignment: &Assignment,
    ) -> bool {
        let worker = &mut self.workers[number];
        let Some((plan, spec)) = assignment.exchange.clone().zip(worker.executor.spec()) else {
            return false;
        };
        if assignment.weights_digests.is_empty() {
            return false;
        }
        let lengths = crate::toy::description(spec).layout.lengths();
        let blocks = Blocks::of_size(lengths, BLOCK);
        worker.gathering = Some(Gathering {
            context: context.clone(),
            assignment: assignment.clone(),
            ticket: plan.ticket,
            blocks,
            values: lengths.map(|length| vec![0.0; length]),
            missing: (0..blocks.count()).collect(),
        });
        let start = worker.start;
        let ranges = if plan.weights.is_empty() { &plan.ranges } else { &plan.weights };
        for &(range, owner) in ranges {
            let Some(from) = owner.filter(|owner| *owner != context.fencing_token.session) else {
                self.ask_coordinator(number, range);
                continue;
            };
            let ticket = plan.ticket;
            let fetch = WeightsFetch { by: number, by_start: start, from, ticket, range, answer: None };
            let delay = self.peer_delay(number);
            self.agenda.add(self.now + delay, ScheduledEvent::Weights(Box::new(fetch)));
            let late = ScheduledEvent::WeightsLate(number, start, ticket, range);
            self.agenda.add(self.now + PATIENCE, late);
        }
        true
    }

    fn ask_coordinator(&mut self, number: usize, range: BlockRange) {
        let Some(gathering) = &self.workers[number].gathering else { return };
        let (job, version) = (gathering.assignment.request.job.clone(), gathering.assignment.weights_version);
        let fencing_token = gathering.context.fencing_token.clone();
        self.begin_transfer(number, &fencing_token, What::WeightBlocks(job, version, range));
    }

    /// An owner has not delivered a range in time.
    pub(crate) fn weights_late(&mut self, number: usize, start: u64, ticket: Ticket, range: BlockRange) {
        let worker = &self.workers[number];
        let gathering = worker.gathering.as_ref().filter(|gathering| gathering.ticket == ticket);
        let lacks = |gathering: &Gathering| range.numbers().any(|block| gathering.missing.contains(&block));
        if worker.start == start && gathering.is_some_and(lacks) {
            self.ask_coordinator(number, range);
        }
    }

    /// A fetch arrives at its owner, or the answer at the worker that asked.
    pub(crate) fn weights_fetch(&mut self, mut fetch: WeightsFetch) {
        if let Some(part) = fetch.answer.take() {
            if self.workers[fetch.by].start == fetch.by_start {
                self.weights_arrived(fetch.by, fetch.ticket, fetch.range, &part);
            }
            return;
        }
        let owner = self.workers.iter().position(|worker| {
            let token = worker.session.as_ref().and_then(|session| session.fencing_token.as_ref());
            worker.alive && token.is_some_and(|token| token.session == fetch.from)
        });
        let Some(owner) = owner else { return };
        let is_cut = self.cut_pairs.get(&(fetch.by, owner)).is_some_and(|until| *until > self.now);
        if is_cut && !self.healed {
            return;
        }
        let worker = &mut self.workers[owner];
        if worker.frozen_until > self.now {
            let until = worker.frozen_until;
            return self.agenda.add(until, ScheduledEvent::Weights(Box::new(fetch)));
        }
        let Some(round) = worker.round.as_mut().filter(|round| round.plan.ticket == fetch.ticket) else {
            return;
        };
        fetch.answer = round.weights.get(&fetch.range).cloned();
        if fetch.answer.is_none() {
            return round.awaited.push(fetch);
        }
        let delay = self.peer_delay(owner);
        self.agenda.add(self.now + delay, ScheduledEvent::Weights(Box::new(fetch)));
    }

    /// The coordinator has answered with some blocks; `None` if it does not serve the version any more.
    pub(crate) fn weights_downloaded(
        &mut self,
        number: usize,
        version: u64,
        range: BlockRange,
        weights: Option<Weights>,
    ) {
        let worker = &mut self.workers[number];
        let Some(gathering) = &worker.gathering else { return };
        if gathering.assignment.weights_version != version {
            return;
        }
        let ticket = gathering.ticket;
        let Some(weights) = weights else {
            let job = gathering.assignment.request.job.clone();
            worker.gathering = None;
            return self.transferred(number, What::Weights(job, version), None);
        };
        let part = cut(&gathering.blocks, range, weights.values());
        // Passed on to the workers that wait for it.
        if let Some(round) = worker.round.as_mut().filter(|round| round.plan.ticket == ticket) {
            round.weights.insert(range, part.clone());
            let (waiting, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut round.awaited).into_iter().partition(|fetch| fetch.range == range);
            round.awaited = others;
            waiting.into_iter().for_each(|fetch| self.weights_fetch(fetch));
        }
        self.weights_arrived(number, ticket, range, &part);
    }

    /// Blocks of the weights are here. Once all are, and are those of the version, the worker computes.
    fn weights_arrived(&mut self, number: usize, ticket: Ticket, range: BlockRange, part: &Part) {
        let worker = &mut self.workers[number];
        let Some(gathering) = worker.gathering.as_mut().filter(|gathering| gathering.ticket == ticket) else {
            return;
        };
        let digests = Blocks::of_size(part.lengths(), BLOCK).digests(part.values());
        if range.of(&gathering.assignment.weights_digests) != Some(&digests[..]) {
            return;
        }
        let elements = gathering.blocks.elements(range);
        gathering.values.parameters[elements.parameters].copy_from_slice(&part.parameters);
        gathering.values.statistics[elements.statistics].copy_from_slice(&part.statistics);
        gathering.missing.retain(|block| !range.contains(*block));
        worker.progress += 1;
        if !gathering.missing.is_empty() {
            return;
        }
        let Some(Gathering { assignment, values, .. }) = worker.gathering.take() else { return };
        let weights = values.map(|values| Arc::new(FlatBuffer::from(values)));
        let what = What::Weights(assignment.request.job, assignment.weights_version);
        self.transferred(number, what, Some(weights));
    }
}
