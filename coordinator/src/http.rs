//! The coordinator's HTTP server: the dashboard and its JSON interface, metrics and health checks.
//!
//! It is a client of the state machine like the gRPC services: it sends the same events and has no other access.

mod access;
mod answer;
mod assets;
mod downsample;
mod jobs;
mod live;
mod out;
mod overview;
mod pace;
mod places;
mod routes;
mod snapshot;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use lookbehind_identity::GuardedServer;
use lookbehind_telemetry::http::{HttpServer, Limits, TlsConfig};
use lookbehind_telemetry::{health, metrics};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use answer::Refusal;
use pace::Rates;
use places::Places;
use snapshot::Snapshots;
pub(crate) use views::time;

use crate::grpc::callers::Guard;
use crate::observe::Observer;
use crate::runtime::Shared;
use crate::state::Caller;
use crate::state::event::{Reply, UserCall};

/// Concurrent event streams. Each one is an open page of the dashboard.
const STREAMS: usize = 256;
/// Job histories that are in memory concurrently.
const HISTORIES: usize = 4;
/// Concurrent requests, each until its answer has left. An event stream stops counting as a request once its response has
/// begun.
const REQUESTS: usize = 64;
/// How long to wait for a reply of the state machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections with a request that is being answered. A browser opens several.
const CONNECTIONS: usize = 1024;

/// Configuration of the HTTP server.
pub(crate) struct HttpConfig {
    /// The socket on which it listens.
    pub(crate) listener: TcpListener,
    /// The coordinator's credentials, and the tokens with which users sign in.
    pub(crate) guard: Guard,
    /// Whether reading requires signing in, too.
    pub(crate) private: bool,
    /// The metrics that `/metrics` exposes.
    pub(crate) registry: Registry,
    /// Cluster name and incarnation, shown on the page.
    pub(crate) name: Name,
}

/// Identity of this coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) cluster: String,
    pub(crate) incarnation: u64,
}

/// State shared by the handlers.
#[derive(Clone)]
struct App {
    shared: Shared,
    guard: Guard,
    private: bool,
    name: Name,
    started: std::time::Instant,
    streams: Arc<Places>,
    histories: Arc<Places>,
    requests: Arc<Places>,
    rates: Arc<Rates>,
    snapshots: Snapshots,
    end: CancellationToken,
}

/// Serves until `end` is cancelled.
pub(crate) async fn serve(http_config: HttpConfig, shared: Shared, end: CancellationToken) {
    let tls = http_config.guard.clone().map(encryption);
    let (observer, patience) = (Arc::clone(&shared.observer), shared.transfer_idle);
    let longest_wait = shared.failure_detection;
    let readiness = health::router(move || observer.ready());
    let snapshots = Snapshots::start(shared.clone(), end.clone());
    let counted: Arc<Observer> = Arc::clone(&shared.observer);
    let app = App {
        shared,
        guard: http_config.guard,
        private: http_config.private,
        name: http_config.name,
        started: std::time::Instant::now(),
        streams: Places::new(STREAMS),
        histories: Places::new(HISTORIES),
        requests: Places::new(REQUESTS),
        rates: Arc::new(Rates::new(longest_wait)),
        snapshots,
        end: end.clone(),
    };
    let guarded = routes::router(app.clone()).merge(scraped(app.clone(), http_config.registry));
    // These need no token: the page offers to sign in, and health probes have none.
    let public = assets::router().merge(readiness);
    let router: Router = guarded
        .layer(axum::middleware::from_fn_with_state(app.clone(), access::check))
        .merge(public.layer(axum::middleware::from_fn_with_state(app, pace::public)));
    let limits = Limits { connections: CONNECTIONS, stalled: patience, ..Limits::default() };
    let server = HttpServer::new(http_config.listener, router).with_tls(tls).with_limits(limits);
    server.with_observer(counted).serve(end).await;
}

/// The caller on whose behalf the page reads. It may read all jobs, because every viewer of the dashboard sees all of
/// them.
fn reader() -> Caller {
    Caller::Admin("dashboard".into())
}

/// Sends a call to the state machine and waits for the reply, up to a limit.
async fn ask(shared: &Shared, caller: Caller, call: UserCall) -> Result<Reply, Refusal> {
    let answer = shared.mailbox.call(caller, call);
    Ok(tokio::time::timeout(PATIENCE, answer).await.map_err(|_| Refusal::slow())??)
}

/// Serves `/metrics`. Gauges of the present state are updated before each scrape.
fn scraped(app: App, registry: Registry) -> Router {
    let refresh = move |request, next: axum::middleware::Next| {
        let app = app.clone();
        async move {
            // If the state machine does not answer, the gauges keep their last values.
            if let Ok(snapshot) = app.snapshots.recent().await {
                app.shared.observer.metrics.refresh(&snapshot.workers);
            }
            next.run(request).await
        }
    };
    metrics::router(Arc::new(registry)).layer(axum::middleware::from_fn(refresh))
}

/// Follows the coordinator's credentials and passes on their TLS configuration.
fn encryption(mut guard: watch::Receiver<GuardedServer>) -> TlsConfig {
    let (sender, tls) = watch::channel(Arc::clone(&guard.borrow_and_update().http));
    tokio::spawn(async move {
        while guard.changed().await.is_ok() {
            sender.send_replace(Arc::clone(&guard.borrow_and_update().http));
        }
    });
    tls
}
