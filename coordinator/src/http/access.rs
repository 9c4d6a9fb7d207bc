//! Authentication of HTTP requests: an anonymous guest, who may only read, or the holder of a token.

use std::net::IpAddr;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use lookbehind_identity::{Identity, Role};
use lookbehind_telemetry::http::unread::Kept;
use serde::Serialize;

use super::App;
use super::answer::Refusal;
use super::pace;
use super::places::Holder;
use crate::grpc::callers::{bearer, holder};
use crate::observe::Refused;
use crate::state::Caller;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Viewer {
    /// Authentication is off: every caller may do everything.
    Anyone,
    /// The caller has not signed in and may only read.
    Guest,
    /// The caller has signed in with a token.
    Known(Identity),
}

/// The viewer as the page displays them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct You {
    pub(super) name: String,
    pub(super) role: Role,
}

impl Viewer {
    pub(super) fn you(&self) -> Option<You> {
        match self {
            Self::Anyone => Some(You { name: "local".into(), role: Role::Admin }),
            Self::Guest => None,
            Self::Known(identity) => Some(You { name: identity.name.clone(), role: identity.role }),
        }
    }

    /// Who takes the places that the viewer's requests need.
    fn holder(&self, address: IpAddr) -> Holder {
        match self {
            Self::Guest => Holder::Guest(address.into()),
            Self::Known(Identity { name, role: Role::User | Role::Worker }) => Holder::User(name.clone()),
            Self::Known(Identity { role: Role::Admin, .. }) | Self::Anyone => Holder::Admin,
        }
    }

    /// The caller under which the viewer controls jobs; `None` if the viewer may only read.
    pub(super) fn steers(&self) -> Option<Caller> {
        match self {
            Self::Anyone => Some(Caller::Anyone),
            Self::Known(Identity { name, role: Role::Admin }) => Some(Caller::Admin(name.clone())),
            Self::Known(Identity { name, role: Role::User }) => Some(Caller::User(name.clone())),
            Self::Known(Identity { role: Role::Worker, .. }) | Self::Guest => None,
        }
    }
}

/// Authenticates a request, and refuses it if the viewer may not read.
pub(super) async fn check(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let address = pace::address(&request);
    let viewer = match viewer(&app, &request) {
        Ok(viewer) => viewer,
        Err(refusal) => {
            if let Err(too_fast) = app.rates.pass(&Holder::Guest(address.into())).await {
                return pace::refused(&app, address, too_fast);
            }
            // A page that asks its viewer to sign in is nothing to report.
            if request.headers().contains_key(AUTHORIZATION) {
                app.shared.observer.refuse(reason(&refusal), address, &refusal.reason);
            }
            return refusal.into_response();
        }
    };
    let holder = viewer.holder(address);
    if let Err(too_fast) = app.rates.pass(&holder).await {
        return pace::refused(&app, address, too_fast);
    }
    let Some(place) = app.requests.take(&holder) else {
        let reason = "as many requests are under way as there may be; try again later";
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    };
    request.extensions_mut().insert(viewer);
    request.extensions_mut().insert(holder);
    let mut response = next.run(request).await;
    // A stream of events counts as an open page from here on.
    if response.body().size_hint().exact().is_some() {
        response.extensions_mut().insert(Kept::new(place));
    }
    response
}

fn viewer(app: &App, request: &Request) -> Result<Viewer, Refusal> {
    let Some(guard) = &app.guard else {
        return check_host(request).map(|()| Viewer::Anyone);
    };
    let refuse = |reason: &str| Refusal::new(StatusCode::UNAUTHORIZED, reason);
    match request.headers().get(AUTHORIZATION) {
        Some(value) => {
            let token = value.to_str().ok().and_then(bearer);
            let identity = holder(token.as_ref(), guard).map_err(refuse)?;
            if identity.role == Role::Worker {
                return Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    format!("this is for people; the token is of {identity}"),
                ));
            }
            Ok(Viewer::Known(identity))
        }
        None if app.private => Err(refuse("sign in: this coordinator shows nothing to others")),
        None => Ok(Viewer::Guest),
    }
}

fn reason(refusal: &Refusal) -> Refused {
    match refusal.status {
        StatusCode::UNAUTHORIZED => Refused::Unauthenticated,
        _ => Refused::Forbidden,
    }
}

/// Without authentication, only `localhost` and IP addresses are accepted as host. A foreign page could otherwise
/// reach the coordinator through a host name of its own that resolves to it (DNS rebinding).
fn check_host(request: &Request) -> Result<(), Refusal> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host =
        host.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_matches(['[', ']']);
    if name == "localhost" || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let reason =
        format!("host {name:?}: expected localhost or an address, since callers are not authenticated");
    Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, reason))
}
