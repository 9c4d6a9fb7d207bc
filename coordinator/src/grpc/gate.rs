//! What every call passes before its service sees it: the caller is authenticated, the role is checked against the
//! method, and the request may only use the time and the memory that the method allows. It surrounds all services, so
//! that none of them, health and reflection included, gathers a byte for a caller that it has not let in.

mod answers;
mod budget;
mod methods;
mod received;
mod strangers;
mod turns;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use lookbehind_identity::{Identity, Role};
use lookbehind_telemetry::throttle::Throttle;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tower::Layer;

use super::callers::{Guard, Peer, Who, authenticate};
use super::door;
use super::limits::{CALLS, STRANGE, USER_CALLS, exhausted};
use crate::observe::{Observer, Refused};
use answers::Held;
use budget::Budget;
pub(super) use budget::{Account, Ledger};
use methods::Method;
use received::Received;
use strangers::Strangers;
use turns::{Turn, Turns};

/// Memory in bytes that a call takes before its first message, in addition to its headers.
const CALL_BYTES: usize = 4 << 10;

/// The gate as a layer around the services.
#[derive(Clone)]
pub(super) struct Gate(Arc<Shared>);

struct Shared {
    guard: Guard,
    budget: Arc<Budget>,
    strangers: Strangers,
    turns: Turns,
    /// The calls of each user, by name.
    users: Throttle<String>,
    /// How long a request may take to arrive, and how long a transfer may stand still.
    patience: Duration,
    observer: Arc<Observer>,
}

impl Gate {
    /// A call waits for at most `longest_wait` if its user makes too many.
    pub(super) fn new(
        guard: Guard,
        patience: Duration,
        longest_wait: Duration,
        observer: Arc<Observer>,
    ) -> Self {
        Self(Arc::new(Shared {
            guard,
            budget: Arc::default(),
            strangers: Strangers::default(),
            turns: Turns::default(),
            users: Throttle::new(USER_CALLS.throttle(), longest_wait),
            patience,
            observer,
        }))
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, service: S) -> Gated<S> {
        Gated { service, gate: Arc::clone(&self.0) }
    }
}

/// The services behind the gate.
#[derive(Clone)]
pub(super) struct Gated<S> {
    service: S,
    gate: Arc<Shared>,
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(method) = Method::at(request.uri().path()) else {
            let peer = request.extensions().get::<Peer>();
            if let Some(Err(status)) = peer.map(|peer| self.gate.strange(peer)) {
                return Box::pin(std::future::ready(Ok(status.into_http())));
            }
            // The router answers that there is no such method. It needs no body for that.
            return Box::pin(self.service.call(request.map(|_| Body::empty())));
        };
        match self.gate.admit(&method, request) {
            Ok(Admitted { mut request, held, paced, queued, peer }) => {
                // The service that is ready is used up, and its clone is asked again before the next call.
                let clone = self.service.clone();
                let mut service = std::mem::replace(&mut self.service, clone);
                let gate = Arc::clone(&self.gate);
                Box::pin(async move {
                    if let Some(user) = paced
                        && let Err(status) = gate.pace(user, &peer).await
                    {
                        return Ok(status.into_http());
                    }
                    let mut turn = None;
                    if let Some(who) = queued {
                        let whole = gather(request).await;
                        (request, turn) = match gate.next(whole, &who, &peer).await {
                            Ok((request, turn)) => (request, Some(turn)),
                            Err(status) => return Ok(status.into_http()),
                        };
                    }
                    let response = service.call(request).await?;
                    let limited = held.limit(method.answer, response, gate.patience).await;
                    drop(turn);
                    Ok(limited
                        .unwrap_or_else(|status| gate.refuse(Refused::Memory, &peer, status).into_http()))
                })
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

/// A call that was let in.
struct Admitted {
    /// With a body that keeps to the method's limits.
    request: http::Request<Body>,
    held: Held,
    /// The user whose calls have a rate.
    paced: Option<String>,
    /// The caller, if the call waits for its turn once its request is whole.
    queued: Option<Who>,
    peer: Peer,
}

/// The request with its whole body, which has kept to the method's limits. Until it is there, nobody waits for it.
async fn gather(request: http::Request<Body>) -> Result<http::Request<Body>, Status> {
    let (head, body) = request.into_parts();
    let whole = body.collect().await?.to_bytes();
    Ok(http::Request::from_parts(head, Body::new(Full::new(whole))))
}

impl Shared {
    /// Waits until the user may make a call.
    async fn pace(&self, user: String, peer: &Peer) -> Result<(), Status> {
        let passed = self.users.pass(&user, 1).await;
        passed.map_err(|_| {
            let most = USER_CALLS.per_second.get() as usize;
            self.refuse(Refused::Rate, peer, exhausted("calls per second of one user", most))
        })
    }

    /// Waits for the turn of a request that is whole.
    async fn next(
        &self,
        request: Result<http::Request<Body>, Status>,
        who: &Who,
        peer: &Peer,
    ) -> Result<(http::Request<Body>, Turn), Status> {
        let request = request?;
        let turn = self.turns.wait(who, self.patience).await;
        Ok((request, turn.map_err(|status| self.refuse(Refused::Rate, peer, status))?))
    }

    /// Counts a call that is refused or that everyone may make. Closes the connection if there are too many.
    fn strange(&self, peer: &Peer) -> Result<(), Status> {
        // Those who are known do not suffer from strangers at the same address.
        let bearable = match peer.door.is_admitted() {
            true => peer.calls.check().is_ok(),
            false => self.strangers.may_call(peer.door.source()),
        };
        if bearable {
            return Ok(());
        }
        peer.door.closing().cancel();
        let status = exhausted("refused or public calls per second", STRANGE.per_second.get() as usize);
        Err(self.refuse(Refused::Rate, peer, status))
    }

    /// Lets a call in, or says why not.
    fn admit(&self, method: &Method, mut request: http::Request<Body>) -> Result<Admitted, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the call belongs to no connection"))?;
        let who = authenticate(request.headers(), &peer, &self.guard);
        if let Err(status) = method.audience.check(&who) {
            let status = self.refuse(reason(&status), &peer, status);
            self.strange(&peer)?;
            return Err(status);
        }
        let place = match who {
            Who::Unknown(_) => Some(self.place_of_stranger(&peer)?),
            Who::Anyone | Who::Known(_) => None,
        };
        if method.audience.is_closed()
            && let Err(door::Full { what, limit }) = peer.door.admit(who.identity())
        {
            return Err(self.refuse(Refused::Connections, &peer, exhausted(what, limit)));
        }
        if method.limits_rate && peer.calls.check().is_err() {
            let most = CALLS.per_second.get() as usize;
            let status = exhausted("calls per second over one connection", most);
            return Err(self.refuse(Refused::Rate, &peer, status));
        }
        let ledger = Arc::new(Ledger::open(&self.budget, &peer.received, &who));
        let headers: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        ledger.take(CALL_BYTES + headers).map_err(|status| self.refuse(Refused::Memory, &peer, status))?;
        let paced = match &who {
            Who::Known(Identity { name, role: Role::User }) if method.limits_rate => Some(name.clone()),
            Who::Anyone | Who::Known(_) | Who::Unknown(_) => None,
        };
        let queued = method.takes_turns().then(|| who.clone());
        let extensions = request.extensions_mut();
        if let Some(caller) = who.caller() {
            extensions.insert(caller);
        }
        extensions.insert(who);
        extensions.insert(Arc::clone(&ledger));
        let (shape, observer) = (method.shape, Arc::clone(&self.observer));
        let metered =
            |body| Body::new(Received::new(body, shape, self.patience, Arc::clone(&ledger), observer));
        let request = request.map(metered);
        let held = Held { ledger, place, closing: peer.door.closing().clone() };
        Ok(Admitted { request, held, paced, queued, peer })
    }

    /// Lets a caller who is not known make a public call.
    fn place_of_stranger(&self, peer: &Peer) -> Result<OwnedSemaphorePermit, Status> {
        self.strange(peer)?;
        peer.door.call().ok_or_else(|| {
            let status = Status::resource_exhausted(
                "too many calls under way over one connection of a caller who is not known",
            );
            self.refuse(Refused::Rate, peer, status)
        })
    }

    /// Counts and logs a refused call, and returns its status.
    fn refuse(&self, why: Refused, peer: &Peer, status: Status) -> Status {
        self.observer.refuse(why, peer.door.source(), status.message());
        status
    }
}

fn reason(status: &Status) -> Refused {
    match status.code() {
        tonic::Code::Unauthenticated => Refused::Unauthenticated,
        _ => Refused::Forbidden,
    }
}
