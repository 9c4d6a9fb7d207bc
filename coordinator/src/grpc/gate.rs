//! What every call passes before its service sees it: the caller is authenticated, the role is checked against the
//! method, and the request may only use the time and the memory that the method allows. It surrounds all services, so
//! that none of them, health and reflection included, gathers a byte for a caller that it has not let in.

mod budget;
mod methods;
mod received;
mod unread;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tower::Layer;

use super::callers::{Guard, Peer, authenticate};
use super::limits::{CALLS, exhausted};
use crate::observe::{Observer, Refused};
use budget::Budget;
pub(super) use budget::{Account, Ledger};
use methods::Method;
use received::Received;

/// Memory in bytes that a call takes before its first message, in addition to its headers.
const CALL_BYTES: usize = 4 << 10;

/// Least rate of a transfer in bytes per second, on average over the patience: far below any line on which training makes
/// sense, and enough that no transfer is held open with a few bytes now and then.
const LEAST_RATE: f64 = 64.0 * 1024.0;

/// How long so many bytes take at the least rate.
fn at_least_rate(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / LEAST_RATE)
}

/// The gate as a layer around the services.
#[derive(Clone)]
pub(super) struct Gate(Arc<Shared>);

struct Shared {
    guard: Guard,
    budget: Arc<Budget>,
    /// How long a request may take to arrive, and how long a transfer may stand still.
    patience: Duration,
    observer: Arc<Observer>,
}

impl Gate {
    pub(super) fn new(guard: Guard, patience: Duration, observer: Arc<Observer>) -> Self {
        Self(Arc::new(Shared { guard, budget: Arc::default(), patience, observer }))
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
            // The router answers that there is no such method. It needs no body for that.
            return Box::pin(self.service.call(request.map(|_| Body::empty())));
        };
        match self.gate.admit(&method, request) {
            Ok((request, ledger)) => {
                let (answer, patience) = (self.service.call(request), self.gate.patience);
                Box::pin(async move {
                    let response = answer.await?;
                    // What the request took is in use until it is answered, not only until it has arrived.
                    drop(ledger);
                    Ok(match method.long_answer {
                        true => response.map(|body| unread::limited(body, patience)),
                        false => response,
                    })
                })
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

impl Shared {
    /// Lets a call in, or says why not. The request is returned with a body that keeps to the method's limits.
    fn admit(
        &self,
        method: &Method,
        mut request: http::Request<Body>,
    ) -> Result<(http::Request<Body>, Arc<Ledger>), Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the call belongs to no connection"))?;
        if let Some(limit) = peer.beyond {
            self.observer.metrics.refuse(Refused::Connections);
            return Err(exhausted("connections", limit));
        }
        let who = authenticate(request.headers(), &peer, &self.guard);
        method.audience.check(&who).inspect_err(|status| self.observer.metrics.refuse(reason(status)))?;
        if method.audience.is_closed() {
            peer.admit();
        }
        if method.limits_rate && peer.calls.check().is_err() {
            self.observer.metrics.refuse(Refused::Rate);
            return Err(exhausted("calls per second over one connection", CALLS.per_second.get() as usize));
        }
        let ledger = Arc::new(Ledger::open(&self.budget, &peer.received, &who));
        let headers: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        ledger.take(CALL_BYTES + headers).inspect_err(|_| self.observer.metrics.refuse(Refused::Memory))?;
        let extensions = request.extensions_mut();
        if let Some(caller) = who.caller() {
            extensions.insert(caller);
        }
        extensions.insert(who);
        extensions.insert(Arc::clone(&ledger));
        let (shape, observer) = (method.shape, Arc::clone(&self.observer));
        let metered =
            |body| Body::new(Received::new(body, shape, self.patience, Arc::clone(&ledger), observer));
        Ok((request.map(metered), ledger))
    }
}

fn reason(status: &Status) -> Refused {
    match status.code() {
        tonic::Code::Unauthenticated => Refused::Unauthenticated,
        _ => Refused::Forbidden,
    }
}
