//! What this worker does for one request, and the board on which other workers find it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::ids::{RequestId, SessionId, Ticket};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_identity::peers::{Fingerprint, Known};
use lookbehind_proto::v1::session_request::Message;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::offer::Offer;
use super::peers::Peers;
use super::plan::Plan;
use super::{deliver, gather};
use crate::session::command::{ExecutorMessage, Lengths};
use crate::session::transfer::Transfers;

/// The exchange of one request, as far as this worker takes part. Ends when it is superseded or its session ends.
#[derive(Debug)]
pub(in crate::session) struct Round {
    /// The session of this worker.
    pub(super) own: SessionId,
    pub(super) request: RequestId,
    pub(super) ticket: Ticket,
    pub(super) weight_blocks: Blocks,
    pub(super) partial_blocks: Blocks,
    /// The segment of all shards.
    pub(super) root: Segment,
    pub(super) plan: watch::Sender<Arc<Plan>>,
    /// The blocks of the weights that this worker passes on.
    pub(super) weights: Arc<Offer>,
    /// Whether this worker waits for no more weights.
    has_weights: watch::Sender<bool>,
    partials: Mutex<BTreeMap<Segment, Arc<Offer>>>,
    /// Notified when there is another partial.
    computed: Notify,
    pub(super) over: CancellationToken,
}

/// What a round is made from.
pub(in crate::session) struct RoundStart {
    pub(in crate::session) exchange: lookbehind_proto::v1::Exchange,
    pub(in crate::session) shards: u32,
    pub(in crate::session) lengths: Lengths,
    pub(in crate::session) transfers: Transfers,
    pub(in crate::session) messages: mpsc::Sender<ExecutorMessage>,
}

/// What the tasks of a round use.
#[derive(Clone)]
pub(in crate::session) struct Means {
    pub(in crate::session) transfers: Transfers,
    pub(in crate::session) peers: Peers,
    pub(in crate::session) messages: mpsc::Sender<ExecutorMessage>,
}

impl Means {
    /// Sends a message to the coordinator. A failed send is ignored: the session has ended.
    pub(super) async fn tell(&self, message: Message) {
        let _ = self.messages.send(ExecutorMessage::Message(message)).await;
    }
}

impl Round {
    /// `None` for a request without shards or a model without parameters, neither of which there is.
    fn new(plan: Plan, shards: u32, lengths: Lengths, own: SessionId) -> Option<Self> {
        let (weight_blocks, partial_blocks) = (lengths.weight_blocks(), lengths.partial_blocks());
        let all = weight_blocks.all()?;
        if shards == 0 {
            return None;
        }
        Some(Self {
            own,
            request: plan.request.clone(),
            ticket: plan.ticket,
            weight_blocks,
            partial_blocks,
            root: Segment::root(shards),
            plan: watch::Sender::new(Arc::new(plan)),
            weights: Arc::new(Offer::new(all)),
            has_weights: watch::Sender::new(false),
            partials: Mutex::default(),
            computed: Notify::new(),
            over: CancellationToken::new(),
        })
    }

    /// Notes that this worker waits for no more weights.
    pub(super) fn weights_are_here(&self) {
        self.has_weights.send_replace(true);
    }

    /// Waits until this worker waits for no more weights.
    pub(super) async fn own_weights(&self) {
        // The sender lives as long as the round.
        let _ = self.has_weights.subscribe().wait_for(|here| *here).await;
    }

    fn partials(&self) -> MutexGuard<'_, BTreeMap<Segment, Arc<Offer>>> {
        // No code panics while it holds the lock.
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a computed partial to the owners of the blocks, who get the first blocks while the digests of the last ones
    /// are computed. Returns the digests of all blocks.
    pub(in crate::session) fn offer(&self, segment: Segment, partial: Partial) -> Vec<BlockDigest> {
        let values = ModelState { parameters: partial.gradient, statistics: partial.statistics };
        let Some(all) = self.partial_blocks.all() else { return Vec::new() };
        let offer = Arc::new(Offer::new(all));
        self.partials().insert(segment, Arc::clone(&offer));
        self.computed.notify_waiters();
        offer.fill(&self.partial_blocks, &values.map(Arc::new), &self.offered_order(all))
    }

    /// The blocks in the order in which owners ask for them: first the first ones of all ranges.
    fn offered_order(&self, all: BlockRange) -> Vec<u32> {
        let plan = self.plan.borrow();
        let begins: BTreeSet<u32> = plan.ranges.iter().map(|(range, _)| range.first).collect();
        let mut order: Vec<u32> = all.numbers().collect();
        order.sort_by_key(|number| {
            begins.range(..=number).next_back().map_or(*number, |first| number - first)
        });
        order
    }

    /// Waits until a segment is computed here.
    pub(super) async fn partial(&self, segment: Segment) -> Arc<Offer> {
        loop {
            let computed = self.computed.notified();
            if let Some(offer) = self.partials().get(&segment) {
                return Arc::clone(offer);
            }
            computed.await;
        }
    }

    /// The partials that have been computed here.
    pub(super) fn computed_partials(&self) -> Vec<(Segment, Arc<Offer>)> {
        self.partials().iter().map(|(segment, offer)| (*segment, Arc::clone(offer))).collect()
    }

    /// Resolves when another partial is computed.
    pub(super) fn more_computed(&self) -> impl Future<Output = ()> {
        self.computed.notified()
    }

    /// Whether this worker passes on a block of the weights.
    pub(super) fn passes_on(&self, range: BlockRange) -> bool {
        let plan = self.plan.borrow();
        plan.of_weights().iter().any(|(owned, owner)| {
            *owner == Some(self.own) && owned.first <= range.first && range.end <= owned.end
        })
    }
}

/// The round of this process, if there is one, where connections of other workers find it.
#[derive(Debug, Default)]
pub(in crate::session) struct Board {
    round: Mutex<Option<Arc<Round>>>,
    changed: Notify,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Round>>> {
        // No code panics while it holds the lock.
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part in an exchange, in place of any earlier one; if it is that of the present round, takes over its changes.
    ///
    /// # Errors
    /// If the coordinator's message is not valid.
    pub(in crate::session) fn open(
        &self,
        start: RoundStart,
        peers: &Peers,
        runtime: &Handle,
    ) -> Result<Option<Arc<Round>>, lookbehind_proto::convert::FieldError> {
        let plan = Plan::try_from(start.exchange.clone())?;
        if let Some(round) = self.update(&plan) {
            return Ok(Some(round));
        }
        let own = start.transfers.fencing_token().session;
        let round = Round::new(plan, start.shards, start.lengths, own);
        let Some(round) = round.map(Arc::new) else { return Ok(None) };
        let means = Means { transfers: start.transfers, peers: peers.clone(), messages: start.messages };
        let owned: Vec<BlockRange> = round.plan.borrow().owned_by(own).collect();
        peers.meet(&round.plan.borrow(), own);
        for range in owned {
            runtime.spawn(gather::gather(Arc::clone(&round), range, means.clone()));
        }
        runtime.spawn(deliver::deliver(Arc::clone(&round), means));
        self.replace(Some(Arc::clone(&round)));
        Ok(Some(round))
    }

    /// Takes over what has changed in the exchange of the present round. `None` if the plan belongs to another one.
    pub(in crate::session) fn change(
        &self,
        exchange: lookbehind_proto::v1::Exchange,
    ) -> Result<(), lookbehind_proto::convert::FieldError> {
        self.update(&Plan::try_from(exchange)?);
        Ok(())
    }

    fn update(&self, plan: &Plan) -> Option<Arc<Round>> {
        let round = self.lock().clone().filter(|round| round.ticket == plan.ticket)?;
        round.plan.send_modify(|known| {
            let mut plan = plan.clone();
            // A plan that comes with an assignment does not name the makers.
            if plan.makers.is_empty() {
                plan.makers.clone_from(&known.makers);
            }
            *known = Arc::new(plan);
        });
        Some(round)
    }

    /// Ends the present round.
    pub(in crate::session) fn close(&self) {
        self.replace(None);
    }

    fn replace(&self, round: Option<Arc<Round>>) {
        let earlier = std::mem::replace(&mut *self.lock(), round);
        if let Some(earlier) = earlier {
            earlier.over.cancel();
            earlier.weights.close();
        }
        self.changed.notify_waiters();
    }

    /// The present round, if there is one.
    pub(super) fn present(&self) -> Option<Arc<Round>> {
        self.lock().clone()
    }

    /// The round with this ticket. Others may hear of a request before this worker does, so it is waited for a little.
    pub(super) async fn find(&self, ticket: Ticket, patience: Duration) -> Option<Arc<Round>> {
        let found = async {
            loop {
                let changed = self.changed.notified();
                if let Some(round) = self.lock().as_ref().filter(|round| round.ticket == ticket) {
                    return Arc::clone(round);
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, found).await.ok()
    }
}

impl Known for Board {
    /// Workers of the present round may connect.
    fn knows(&self, fingerprint: Fingerprint) -> bool {
        let round = self.lock().clone();
        round.is_some_and(|round| {
            round.plan.borrow().peers.values().any(|peer| peer.fingerprint == Some(fingerprint))
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
