//! Who calls, and what they may call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use governor::DefaultDirectRateLimiter;
use lookbehind_identity::{GuardedServer, Identity, Role, Token};
use tokio::sync::watch;
use tonic::{Request, Status};

use super::limits::{CALLS, exhausted};
use crate::observe::{Observer, Refused};
use crate::state::Caller;

/// How a caller's word is checked: the newest credentials of the coordinator, or none where nobody is asked.
pub(crate) type Guard = Option<watch::Receiver<GuardedServer>>;

/// What is known of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The limit that kept the connection from being admitted; `None` where it is.
    pub(super) beyond: Option<usize>,
    /// Whom its certificate names, or why it names nobody; `None` where it showed none.
    pub(super) certificate: Option<Result<Identity, String>>,
    /// Whether a call over it has been let through.
    pub(super) admitted: Arc<AtomicBool>,
    pub(super) calls: Arc<DefaultDirectRateLimiter>,
}

/// Who makes a call.
#[derive(Clone, Debug)]
enum Who {
    /// Nobody is asked.
    Anyone,
    /// They have proved it.
    Known(Identity),
    /// They have not; why.
    Unknown(Status),
}

/// Says of each call who makes it. Whether that suffices is the services' matter: health is for everybody.
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

/// A token counts before a certificate: it is the more deliberate of the two.
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
        Some(Err(reason)) => {
            Err(Status::unauthenticated(format!("the client certificate's subject says of nobody: {reason}")))
        }
        None => Err(Status::unauthenticated(
            "no credentials: show a client certificate of the cluster, or a token as \"authorization: Bearer …\"",
        )),
    }
}

/// The token of an `authorization` header.
pub(crate) fn bearer(value: &str) -> Option<Token> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Token::new(token.trim())).flatten()
}

/// Who holds the token of an `authorization` header.
pub(crate) fn holder(
    token: Option<&Token>,
    guard: &watch::Receiver<GuardedServer>,
) -> Result<Identity, &'static str> {
    let token = token.ok_or("authorization: expected \"Bearer\" and a token")?;
    guard.borrow().tokens.holder(token).cloned().ok_or("authorization: the token is not known here")
}

/// A check that calls pass or are refused by.
pub(super) trait Check: Fn(Request<()>) -> Result<Request<()>, Status> + Clone {}

impl<F: Fn(Request<()>) -> Result<Request<()>, Status> + Clone> Check for F {}

/// Lets users and admins through, at the rate of their connection: who calls too often harms nobody else.
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

/// Lets workers through.
pub(super) fn workers(observer: Arc<Observer>) -> impl Check {
    move |request| admit(&observer, request, |role| role == Role::Worker, "workers")
}

/// Lets everybody through who has a role.
pub(super) fn anybody(observer: Arc<Observer>) -> impl Check {
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
        // The layer that says who calls is not there: nothing is let through that way.
        None => return Err(Status::internal("nobody has said who calls")),
    }
    if let Some(peer) = request.extensions().get::<Peer>() {
        peer.admitted.store(true, Ordering::Relaxed);
    }
    Ok(request)
}
