//! Exchanges of a job: when workers exchange with each other, who owns blocks, and what happens when that takes too long
//! or fails.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::blocks::Blocks;
use lookbehind_common::ids::{RequestId, SessionId};
use lookbehind_common::reduction::Segment;

use super::beside::{plan_beside, spare_the_link};
use super::plan::ticket;
use super::{Exchange, LEAST_BLOCKS, Passing, Secrets};
use crate::state::active::Active;
use crate::state::assign::model::Route;
use crate::state::assign::routes::ExchangeRoute;
use crate::state::cluster::Cluster;
use crate::state::command::{Command, ExchangePlan, PeerAddress, WorkerCommand};
use crate::state::halt::{Halt, Handled};
use crate::state::job::Job;
use crate::state::request::Request;

/// Transfers are late when they take this many times what they took before.
const PATIENCE: f64 = 4.0;
/// Before any exchange of a job was measured, transfers may take this many times failure detection, and the time that
/// they would take at this many bytes per second.
const UNMEASURED: u32 = 8;
const LEAST_RATE: f64 = 8e6;

impl Cluster {
    /// The blocks of a job's weights, if its workers may exchange them with each other.
    pub(in crate::state) fn exchanged_blocks(&self, active: &Active) -> Option<Blocks> {
        let lengths = active.training()?.description.layout.lengths();
        let blocks = (self.config.blocks)(lengths);
        let reachable = active.members.keys().filter(|session| self.peer_address(**session).is_some());
        (blocks.count() >= LEAST_BLOCKS && reachable.count() > 1).then_some(blocks)
    }

    /// The workers of a request that may own blocks, with their shares; `None` if tensors go through the coordinator.
    fn owners(&self, active: &Active, shards: u32, route: Route) -> Option<Vec<(SessionId, f64)>> {
        let asked = active.basis(self.now.elapsed).divide(Segment::root(shards), shards, route);
        let asked: Vec<SessionId> = asked.into_iter().map(|(session, _)| session).collect();
        let is_reachable = |session: &SessionId| self.peer_address(*session).is_some();
        if !asked.iter().all(is_reachable) {
            return None;
        }
        let now = self.now.elapsed;
        let is_in_time =
            |session: &SessionId| active.members.get(session).is_some_and(|member| member.owns_from <= now);
        let share = |session: SessionId| Some((session, active.members.get(&session)?.measured.share()));
        let owners = self.workers.unreachable.owners(&asked).into_iter().filter(is_in_time);
        let owners: Vec<(SessionId, f64)> = owners.filter_map(share).collect();
        let beside = asked.iter().filter(|session| self.is_beside(**session)).count();
        let owners =
            spare_the_link(owners, (beside, asked.len() - beside), |(session, _)| self.is_beside(*session));
        (owners.len() > 1).then_some(owners)
    }

    /// The way that the tensors of the next gradient request are to travel.
    fn next_route(&self, active: &Active, shards: u32) -> Route {
        match self.config.exchange_route {
            ExchangeRoute::Workers => Route::Workers,
            ExchangeRoute::Coordinator => Route::Coordinator,
            ExchangeRoute::Measured => {
                let basis = active.basis(self.now.elapsed);
                let crosses_links =
                    basis.candidates.iter().any(|candidate| !self.is_beside(candidate.session));
                basis.routes.next(crosses_links, |route| basis.seconds(shards, route))
            }
        }
    }

    /// The exchange of a gradient request; `None` if it goes through the coordinator.
    pub(in crate::state) fn exchange(&self, job: &Job, id: &RequestId, shards: u32) -> Option<Exchange> {
        let active = job.active.as_ref()?;
        let training = active.training()?;
        let weights = self.exchanged_blocks(active)?;
        if training.weights_digests.is_empty() || training.step.through_coordinator {
            return None;
        }
        if self.next_route(active, shards) == Route::Coordinator {
            return None;
        }
        let owners = self.owners(active, shards, Route::Workers)?;
        let partials = (self.config.blocks)(training.partials).of_gradients(job.spec.train.exchange);
        let secrets = Secrets::draw(&self.config.exchange_key, active.activation.0, id, &partials);
        let exchange = Exchange::new(secrets, partials, shards, &owners);
        Some(if partials == weights { exchange } else { exchange.with_weights(weights, &owners) })
    }

    /// How the workers of a test request pass the weights on to each other; `None` if all get them from the coordinator.
    pub(in crate::state) fn passing(&self, job: &Job, id: &RequestId, shards: u32) -> Option<Passing> {
        let active = job.active.as_ref()?;
        let weights = self.exchanged_blocks(active)?;
        let training = active.training()?;
        let is_between = match self.config.exchange_route {
            ExchangeRoute::Measured => training.routes.taken() == Route::Workers,
            ExchangeRoute::Workers => true,
            ExchangeRoute::Coordinator => false,
        };
        if training.weights_digests.is_empty() || !is_between {
            return None;
        }
        let owners = self.owners(active, shards, Route::Coordinator)?;
        let ticket = ticket(&self.config.exchange_key, active.activation.0, id);
        Some(Passing::new(ticket, &weights, &owners))
    }

    /// Where other workers reach a worker, if they do. Workers that prove who they are and workers that do not are never
    /// in one cluster.
    pub(in crate::state) fn peer_address(&self, session: SessionId) -> Option<PeerAddress> {
        let worker = self.workers.get(session)?;
        let endpoint = worker.registration.endpoint.clone()?;
        (endpoint.fingerprint.is_some() == worker.identity.is_some())
            .then_some(PeerAddress { session, endpoint })
    }

    /// Whether a worker is on the coordinator's host.
    fn is_beside(&self, session: SessionId) -> bool {
        self.workers.get(session).is_some_and(|worker| worker.registration.beside_coordinator)
    }

    /// What a worker is told of a plan.
    fn told(&self, session: SessionId, plan: &Arc<ExchangePlan>) -> Arc<ExchangePlan> {
        if self.is_beside(session) { plan_beside(session, plan) } else { Arc::clone(plan) }
    }

    /// What a worker is told with an assignment: only that the request has an exchange, who owns what and who takes part
    /// so far. The makers follow.
    pub(in crate::state) fn plan_of(
        &self,
        session: SessionId,
        request: &Request,
    ) -> Option<Arc<ExchangePlan>> {
        let address = |session| self.peer_address(session);
        let plan = match (&request.exchange, &request.passing) {
            (Some(exchange), _) => exchange.plan(&request.id, address),
            (None, Some(passing)) => passing.plan(&request.id, address),
            (None, None) => return None,
        };
        Some(self.told(session, &Arc::new(ExchangePlan { makers: Vec::new(), ..plan })))
    }

    /// Tells the workers of a job's open request how its exchange has changed.
    pub(in crate::state) fn tell_exchange(&mut self, job: &mut Job) {
        let Some(request) = job.active.as_mut().and_then(Active::open_request) else { return };
        let address = |session| self.peer_address(session);
        let changes = match (&mut request.exchange, &mut request.passing) {
            (Some(exchange), _) => exchange.take_changes(&request.id, address),
            (None, Some(passing)) => passing.take_changes(&request.id, address),
            (None, None) => None,
        };
        let Some(plan) = changes.map(Arc::new) else { return };
        for session in plan.peers.iter().map(|peer| peer.session) {
            self.push(Command::Send(session, WorkerCommand::Exchange(self.told(session, &plan))));
        }
    }

    /// A worker could not reach another one: later requests do without connections between the two, and the coordinator
    /// takes over what the first one owns.
    pub(in crate::state) fn unreachable(
        &mut self,
        job: &mut Job,
        session: SessionId,
        id: &RequestId,
        other: SessionId,
        reason: &str,
    ) -> Handled {
        let now = self.now.elapsed;
        let (from, to) = (self.workers.name(session), self.workers.name(other));
        let active = job.with_member(session)?;
        if !active.members.contains_key(&other) {
            return Err(Halt::Stale("the other worker has left"));
        }
        if self.workers.unreachable.note(session, other) {
            tracing::warn!(job = %id.job, from, to, reason, "a worker cannot reach another one");
        }
        if let Some(exchange) = &mut active.request_of(id)?.exchange {
            exchange.take_over_from(session, now);
        }
        self.gathered(job)
    }

    /// Lets the coordinator take over what takes too long. Returns workers that do not deliver to the coordinator
    /// either, and how long they were waited for.
    pub(in crate::state) fn hurry(
        &mut self,
        job: &mut Job,
    ) -> Result<Option<(Vec<SessionId>, Duration)>, Halt> {
        let now = self.now.elapsed;
        let detection = self.config.failure_detection;
        let active = job.require_active_mut()?;
        let Some(training) = active.training_mut() else { return Ok(None) };
        let usual = training.exchange_seconds;
        let Some(request) = training.request_mut() else { return Ok(None) };
        let announced_by: Vec<_> = request.announced_by().collect();
        let Some(exchange) = &mut request.exchange else { return Ok(None) };
        let bytes = exchange.bytes() as f64;
        let Some(waited) = exchange.waited(now) else { return Ok(None) };
        // How long it may take until so many partials have gone over the coordinator's link.
        let patience = |partials: usize| match usual {
            Some(seconds) => Duration::from_secs_f64(PATIENCE * seconds).max(detection / 2) * partials as u32,
            None => detection * UNMEASURED + Duration::from_secs_f64(bytes / LEAST_RATE * partials as f64),
        };
        if exchange.is_taken_over() || exchange.is_settled() {
            let patience = patience(exchange.parties().len() + 1);
            let by = |segment| {
                announced_by.iter().find(|(announced, _)| *announced == segment).map(|(_, session)| *session)
            };
            if waited <= patience {
                return Ok(None);
            }
            let silent = exchange.silent_makers(by);
            // They have delivered all that they were asked for before, so that leaving alone would not count.
            let active = job.require_active_mut()?;
            for session in &silent {
                if let Some(member) = active.members.get_mut(session) {
                    member.miss(waited, now);
                }
            }
            return Ok(Some((silent, patience)));
        }
        let patience = patience(1);
        if waited > patience && !exchange.is_complete() {
            let owners = exchange.owners().len();
            let late = exchange.take_over_all(now);
            tracing::warn!(job = %job.id(), ?late, ?waited, "the coordinator takes over blocks");
            // Where most are late, it is not the owners that are slow, but somebody for whom they wait.
            let are_at_fault = 2 * late.len() <= owners;
            let active = job.require_active_mut()?;
            for session in late.into_iter().filter(|_| are_at_fault) {
                if let Some(member) = active.members.get_mut(&session) {
                    member.note_late_owner(waited, now);
                }
            }
        }
        Ok(None)
    }
}
