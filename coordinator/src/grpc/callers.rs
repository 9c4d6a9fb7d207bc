//! Authentication and authorization of callers.

use std::sync::Arc;

use governor::DefaultDirectRateLimiter;
use lookbehind_identity::{GuardedServer, Identity, Role, Token};
use tokio::sync::watch;
use tonic::Status;
use tonic::codegen::http;

use super::door::Door;
use super::gate::Account;
use crate::state::Caller;

/// The newest credentials against which callers are authenticated; `None` if authentication is off.
pub(crate) type Guard = Option<watch::Receiver<GuardedServer>>;

/// Properties of a connection that its calls depend on.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The identity in the client certificate, or why it contains none; `None` if no certificate was presented.
    pub(super) certificate: Option<Result<Identity, String>>,
    /// Where the connection comes from, and whether a call over it has been authorized. Connections without such a call
    /// are closed soon.
    pub(super) door: Arc<Door>,
    /// Limits the rate of calls over this connection, so that a caller who exceeds it does not affect others.
    pub(super) calls: Arc<DefaultDirectRateLimiter>,
    /// Whether it comes from the host that it came to.
    pub(super) is_on_this_host: bool,
    /// Memory that requests over this connection take while they are received.
    pub(super) received: Arc<Account>,
}

/// Result of authenticating a call.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// Authentication is off.
    Anyone,
    /// The caller is authenticated.
    Known(Identity),
    /// The caller is not authenticated, for this reason.
    Unknown(Status),
}

/// Authenticates a caller. A token takes precedence over a certificate, because it was given for this call on purpose.
pub(super) fn authenticate(headers: &http::HeaderMap, peer: &Peer, guard: &Guard) -> Who {
    match guard {
        None => Who::Anyone,
        Some(guard) => known(headers, peer, guard).map_or_else(Who::Unknown, Who::Known),
    }
}

fn known(
    headers: &http::HeaderMap,
    peer: &Peer,
    guard: &watch::Receiver<GuardedServer>,
) -> Result<Identity, Status> {
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        let given = value.to_str().ok().and_then(bearer);
        return holder(given.as_ref(), guard).map_err(Status::unauthenticated);
    }
    match peer.certificate.as_ref() {
        Some(Ok(identity)) => Ok(identity.clone()),
        Some(Err(reason)) => Err(Status::unauthenticated(format!(
            "the client certificate's subject is not an identity: {reason}"
        ))),
        None => Err(Status::unauthenticated(
            "no credentials: show a client certificate of the cluster, or a token as \"authorization: Bearer …\"",
        )),
    }
}

impl Who {
    /// The caller's identity; `None` if it is not known, or authentication is off.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Known(identity) => Some(identity),
            Self::Anyone | Self::Unknown(_) => None,
        }
    }

    /// The caller's name; `None` if it is not known, or authentication is off.
    pub(super) fn name(&self) -> Option<&str> {
        self.identity().map(|identity| identity.name.as_str())
    }

    /// The caller, as far as access to jobs depends on it.
    pub(super) fn caller(&self) -> Option<Caller> {
        match self {
            Self::Anyone => Some(Caller::Anyone),
            Self::Known(Identity { name, role: Role::Admin }) => Some(Caller::Admin(name.clone())),
            Self::Known(Identity { name, role: Role::User }) => Some(Caller::User(name.clone())),
            Self::Known(Identity { role: Role::Worker, .. }) | Self::Unknown(_) => None,
        }
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
