//! Rates of requests: who asks too fast waits. Users and those who are not signed in have rates of their own;
//! administrators, and everyone where there are no credentials, have none.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use lookbehind_telemetry::http::Peer;
use lookbehind_telemetry::source::Source;
use lookbehind_telemetry::throttle::{Rate, Throttle, TooFast};

use super::App;
use super::answer::Refusal;
use super::places::Holder;
use crate::observe::Refused;

/// Requests of one address of those who are not signed in.
const GUESTS: Rate = rate(100, 400);
/// Requests of one user.
const USERS: Rate = rate(200, 1000);
/// Requests of one address for files of the page and by health probes, which cost little.
const PUBLIC: Rate = rate(1000, 2000);

/// For constants: a value of zero fails to compile.
const fn rate(per_second: u32, at_once: u32) -> Rate {
    match (NonZeroU32::new(per_second), NonZeroU32::new(at_once)) {
        (Some(per_second), Some(at_once)) => Rate { per_second, at_once },
        _ => panic!("expected positive numbers"),
    }
}

/// The rates of all callers.
#[derive(Debug)]
pub(super) struct Rates {
    guests: Throttle<Source>,
    users: Throttle<String>,
    public: Throttle<Source>,
}

impl Rates {
    /// A request waits for at most `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            guests: Throttle::new(GUESTS, longest),
            users: Throttle::new(USERS, longest),
            public: Throttle::new(PUBLIC, longest),
        }
    }

    /// Waits until a request for what only some may see, or change, is due.
    pub(super) async fn pass(&self, holder: &Holder) -> Result<(), TooFast> {
        match holder {
            Holder::Guest(source) => self.guests.pass(source, 1).await,
            Holder::User(name) => self.users.pass(name, 1).await,
            Holder::Admin => Ok(()),
        }
    }
}

/// The address from which a request comes.
pub(super) fn address(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip())
}

/// Counts and answers a request that was refused.
pub(super) fn refused(app: &App, address: IpAddr, too_fast: TooFast) -> Response {
    let reason = format!("requests: {too_fast}; try again later");
    app.shared.observer.refuse(Refused::Rate, address, &reason);
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason).into_response()
}

/// Lets a request pass for what everybody may see, when it is due.
pub(super) async fn public(State(app): State<App>, request: Request, next: Next) -> Response {
    let address = address(&request);
    match app.rates.public.pass(&address.into(), 1).await {
        Ok(()) => next.run(request).await,
        Err(too_fast) => refused(&app, address, too_fast),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn guests_who_ask_too_fast_are_refused_and_users_and_administrators_are_not() {
        let rates = Rates::new(Duration::from_millis(20));
        let guest = Holder::Guest(IpAddr::from(Ipv4Addr::LOCALHOST).into());
        let passed = join_all((0..600).map(|_| rates.pass(&guest))).await;
        let refused = passed.iter().filter(|passed| passed.is_err()).count();
        assert!((1..=200).contains(&refused), "{refused} of 600 beyond the 400 at once");
        assert_eq!(rates.pass(&Holder::User("alice".into())).await, Ok(()));
        let all = join_all((0..5000).map(|_| rates.pass(&Holder::Admin))).await;
        assert!(all.iter().all(Result::is_ok), "administrators have no rate");
    }
}
