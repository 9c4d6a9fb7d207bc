//! Fetches of blocks of partials, from the workers that made them to the owners that add them.

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::ids::{SessionId, Ticket};
use lookbehind_common::reduction::Segment;
use lookbehind_coordinator::state::event::WorkerMessage;

use crate::agenda::ScheduledEvent;
use crate::dice::{Micros, millis, seconds};
use crate::peers::{Part, cut};
use crate::world::World;

/// A fetch of a range of a partial, on its way to the maker or back.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) owner: usize,
    pub(crate) owner_start: u64,
    pub(crate) maker: usize,
    pub(crate) maker_session: SessionId,
    pub(crate) ticket: Ticket,
    pub(crate) range: BlockRange,
    pub(crate) segment: Segment,
    /// Until when the owner tries.
    pub(crate) until: Micros,
    /// The answer, once the maker has given it.
    pub(crate) answer: Option<(Part, Vec<BlockDigest>)>,
}

impl World {
    pub(crate) fn send_fetch(&mut self, fetch: Fetch) {
        let delay = self.peer_delay(fetch.owner);
        self.agenda.add(self.now + delay, ScheduledEvent::Fetch(Box::new(fetch)));
    }

    pub(crate) fn peer_delay(&mut self, worker: usize) -> Micros {
        let slow = !self.healed && self.workers[worker].bulk_slow_until > self.now;
        if slow { self.dice.between(millis(1), seconds(6)) } else { self.dice.between(100, millis(10)) }
    }

    /// A fetch arrives at its maker, or the answer at its owner.
    pub(crate) fn fetch_arrives(&mut self, fetch: Fetch) {
        if fetch.answer.is_some() { self.fetch_down(fetch) } else { self.fetch_up(fetch) }
    }

    /// Whether two workers cannot connect now.
    fn is_cut(&self, fetch: &Fetch) -> bool {
        !self.healed
            && fetch.owner != fetch.maker
            && self.cut_pairs.get(&(fetch.owner, fetch.maker)).is_some_and(|until| *until > self.now)
    }

    pub(crate) fn fetch_up(&mut self, mut fetch: Fetch) {
        let cut_off = self.is_cut(&fetch);
        let maker = &mut self.workers[fetch.maker];
        let is_there = maker.alive
            && maker.session.as_ref().and_then(|session| session.fencing_token.as_ref()).map(|t| t.session)
                == Some(fetch.maker_session);
        if maker.frozen_until > self.now && !cut_off {
            let until = maker.frozen_until;
            return self.agenda.add(until, ScheduledEvent::Fetch(Box::new(fetch)));
        }
        let round = maker.round.as_mut().filter(|round| round.plan.ticket == fetch.ticket);
        let Some(round) = round.filter(|_| is_there && !cut_off) else { return self.fetch_failed(fetch) };
        match round.computed.get(&fetch.segment) {
            Some(partial) => {
                let part = cut(&round.blocks, fetch.range, partial);
                let digests = fetch.range.of(&round.digests(partial)).map(<[_]>::to_vec);
                fetch.answer = digests.map(|digests| (part, digests));
                // A lost answer is as one that never comes: the connection breaks, and the owner asks again.
                let lossy = !self.healed && self.workers[fetch.maker].bulk_lossy_until > self.now;
                if lossy && self.dice.percent(30) {
                    fetch.answer = None;
                    return self.fetch_failed(fetch);
                }
                let delay = self.peer_delay(fetch.maker);
                self.agenda.add(self.now + delay, ScheduledEvent::Fetch(Box::new(fetch)));
            }
            None => round.waiting.push(fetch),
        }
    }

    /// The owner tries again, or tells that the maker cannot be reached.
    fn fetch_failed(&mut self, fetch: Fetch) {
        let owner = &self.workers[fetch.owner];
        let round = owner.round.as_ref().filter(|round| round.plan.ticket == fetch.ticket);
        let Some(round) = round.filter(|_| owner.start == fetch.owner_start) else { return };
        if fetch.until > self.now {
            let again = self.now + millis(100);
            return self.agenda.add(again, ScheduledEvent::Fetch(Box::new(fetch)));
        }
        let (context, request) = (round.context.clone(), round.plan.request.clone());
        let (other, reason) = (fetch.maker_session, "no connection".to_owned());
        self.say(fetch.owner, &context, WorkerMessage::Unreachable { request, other, reason });
    }

    fn fetch_down(&mut self, fetch: Fetch) {
        let owner = &mut self.workers[fetch.owner];
        if owner.frozen_until > self.now {
            let until = owner.frozen_until;
            return self.agenda.add(until, ScheduledEvent::Fetch(Box::new(fetch)));
        }
        if owner.start != fetch.owner_start {
            return;
        }
        let round = owner.round.as_mut().filter(|round| round.plan.ticket == fetch.ticket);
        if let (Some(round), Some(answer)) = (round, fetch.answer) {
            owner.progress += 1;
            round.fetched.entry(fetch.range).or_default().insert(fetch.segment, answer);
            self.add_up(fetch.owner);
        }
    }
}
