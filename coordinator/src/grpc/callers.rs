//! Authentication and authorization of callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use governor::DefaultDirectRateLimiter;
use lookbehind_identity::{GuardedServer, Identity, Role, Token};
use tokio::sync::watch;
use tonic::{Request, Status};

use super::limits::{CALLS, exhausted};
use crate::observe::{Observer, Refused};
use crate::state::Caller;

/// The newest credentials against which callers are authenticated; `None` if authentication is off.
pub(crate) type Guard = Option<watch::Receiver<GuardedServer>>;

/// Properties of a connection that its calls depend on.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The limit of connections that this one exceeds; `None` if it was admitted.
    pub(super) beyond: Option<usize>,
    /// The identity in the client certificate, or why it contains none; `None` if no certificate was presented.
    pub(super) certificate: Option<Result<Identity, String>>,
    /// Whether a call over this connection has been authorized. Connections without such a call are closed soon.
    pub(super) admitted: Arc<AtomicBool>,
    pub(super) calls: Arc<DefaultDirectRateLimiter>,
}

/// Result of authenticating a call.
#[derive(Clone, Debug)]
enum Who {
    /// Authentication is off.
    Anyone,
    /// The caller is authenticated.
    Known(Identity),
    /// The caller is not authenticated, for this reason.
    Unknown(Status),
}

/// Authenticates each call and attaches the result. It does not refuse unauthenticated callers, because the health
/// service is open to all: each service authorizes its own calls.
pub(super) fn identify(guard: Guard, observer: Arc<Observer>) -> impl Check {
    move |mut request: Request<()>| {
        let peer = request.extensions().get::<Peer>();
        if let Some(Peer { beyond: Some(limit), .. }) = peer {
            observer.metrics.refuse(Refused::Connections);
            return Err(exhausted("connections", *limit));
        }
        let who = match &guard {
            None => Who::Anyone,
            Some(guard) => known(&request, peer, guard).map_or_else(Who::Unknown, Who::Known),
        };
        request.extensions_mut().insert(who);
        Ok(request)
    }
}

/// Authenticates a call. A token takes precedence over a certificate, because it was given for this call on purpose.
fn known(
    request: &Request<()>,
    peer: Option<&Peer>,
    guard: &watch::Receiver<GuardedServer>,
) -> Result<Identity, Status> {
    if let Some(value) = request.metadata().get("authorization") {
        let given = value.to_str().ok().and_then(bearer);
        return holder(given.as_ref(), guard).map_err(Status::unauthenticated);
    }
    match peer.and_then(|peer| peer.certificate.as_ref()) {
        Some(Ok(identity)) => Ok(identity.clone()),
        Some(Err(reason)) => Err(Status::unauthenticated(format!(
            "the client certificate's subject is not an identity: {reason}"
        ))),
        None => Err(Status::unauthenticated(
            "no credentials: show a client certificate of the cluster, or a token as \"authorization: Bearer …\"",
        )),
    }
}

/// The token of an `authorization` header; `None` if the header is not a valid bearer token.
pub(crate) fn bearer(value: &str) -> Option<Token> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Token::new(token.trim())).flatten()
}

/// The holder of the token of an `authorization` header.
pub(crate) fn holder(
    token: Option<&Token>,
    guard: &watch::Receiver<GuardedServer>,
) -> Result<Identity, &'static str> {
    let token = token.ok_or("authorization: expected \"Bearer\" and a token")?;
    guard.borrow().tokens.holder(token).cloned().ok_or("authorization: the token is not known here")
}

/// An interceptor that passes or refuses calls.
pub(super) trait Check: Fn(Request<()>) -> Result<Request<()>, Status> + Clone {}

impl<F: Fn(Request<()>) -> Result<Request<()>, Status> + Clone> Check for F {}

/// Admits users and administrators, and limits the rate of calls. The limit is per connection, so that a caller who
/// exceeds it does not affect others.
pub(super) fn users(observer: Arc<Observer>) -> impl Check {
    move |request| {
        let mut request = admit(&observer, request, |role| role != Role::Worker, "users and admins")?;
        if let Some(peer) = request.extensions().get::<Peer>()
            && peer.calls.check().is_err()
        {
            observer.metrics.refuse(Refused::Rate);
            return Err(exhausted("calls per second over one connection", CALLS.per_second.get() as usize));
        }
        let caller = match request.extensions().get::<Who>() {
            Some(Who::Known(Identity { name, role: Role::Admin })) => Caller::Admin(name.clone()),
            Some(Who::Known(Identity { name, .. })) => Caller::User(name.clone()),
            _ => Caller::Anyone,
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Admits workers.
pub(super) fn workers(observer: Arc<Observer>) -> impl Check {
    move |request| admit(&observer, request, |role| role == Role::Worker, "workers")
}

/// Admits every caller who has a role.
pub(super) fn any_role(observer: Arc<Observer>) -> impl Check {
    move |request| admit(&observer, request, |_| true, "those who have a role")
}

fn admit(
    observer: &Observer,
    request: Request<()>,
    suffices: impl FnOnce(Role) -> bool,
    whom: &str,
) -> Result<Request<()>, Status> {
    match request.extensions().get::<Who>() {
        Some(Who::Known(identity)) if !suffices(identity.role) => {
            observer.metrics.refuse(Refused::Forbidden);
            return Err(Status::permission_denied(format!("this is for {whom}; the caller is {identity}")));
        }
        Some(Who::Unknown(status)) => {
            observer.metrics.refuse(Refused::Unauthenticated);
            return Err(status.clone());
        }
        Some(Who::Known(_) | Who::Anyone) => {}
        // The layer that authenticates calls is missing. Refusing is the only safe answer.
        None => return Err(Status::internal("the caller of the request is unknown")),
    }
    if let Some(peer) = request.extensions().get::<Peer>() {
        peer.admitted.store(true, Ordering::Relaxed);
    }
    Ok(request)
}
