//! What the coordinator shows over HTTP: the dashboard and the little interface behind it, metrics, health.
//!
//! It is another client of the state machine: it asks the same questions as the gRPC services and has no way of its own.

mod access;
mod answer;
mod assets;
mod downsample;
mod live;
mod overview;
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
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use answer::Refusal;
use snapshot::Snapshots;

use crate::grpc::callers::Guard;
use crate::observe::Observer;
use crate::runtime::Shared;
use crate::state::Caller;
use crate::state::event::{Event, Reply, UserCall};

/// Streams that are followed at a time: each is a person at a dashboard.
const STREAMS: usize = 256;
/// Jobs' histories that are read at a time.
const HISTORIES: usize = 4;
/// Requests that are answered at a time; an open stream is none any more.
const REQUESTS: usize = 64;
/// How long an answer of the state machine is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at a time: browsers open several.
const CONNECTIONS: usize = 1024;

/// How the pages are reached.
pub(crate) struct HttpConfig {
    /// Where they are served.
    pub(crate) listener: TcpListener,
    /// Credentials that are served with and summary for.
    pub(crate) guard: Guard,
    /// Whether all of it is only for those who sign in.
    pub(crate) private: bool,
    /// What Prometheus reads.
    pub(crate) registry: Registry,
    /// Who this coordinator is.
    pub(crate) name: Name,
}

/// Who this coordinator is.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) cluster: String,
    pub(crate) incarnation: u64,
}

/// What the handlers share.
#[derive(Clone)]
struct App {
    shared: Shared,
    guard: Guard,
    private: bool,
    name: Name,
    started: std::time::Instant,
    streams: Arc<Semaphore>,
    histories: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    snapshots: Snapshots,
    end: CancellationToken,
}

/// Serves until `end`.
pub(crate) async fn serve(http_config: HttpConfig, shared: Shared, end: CancellationToken) {
    let tls = http_config.guard.clone().map(encryption);
    let observer = Arc::clone(&shared.observer);
    let readiness = health::router(move || observer.ready());
    let snapshots = Snapshots::start(shared.clone(), end.clone());
    let counted: Arc<Observer> = Arc::clone(&shared.observer);
    let app = App {
        shared,
        guard: http_config.guard,
        private: http_config.private,
        name: http_config.name,
        started: std::time::Instant::now(),
        streams: Arc::new(Semaphore::new(STREAMS)),
        histories: Arc::new(Semaphore::new(HISTORIES)),
        requests: Arc::new(Semaphore::new(REQUESTS)),
        snapshots,
        end: end.clone(),
    };
    let guarded = routes::router(app.clone()).merge(scraped(app.clone(), http_config.registry));
    let router: Router = guarded
        .layer(axum::middleware::from_fn_with_state(app, access::check))
        .merge(assets::router())
        .merge(readiness);
    let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
    let server = HttpServer::new(http_config.listener, router).with_tls(tls).with_limits(limits);
    server.with_observer(counted).serve(end).await;
}

/// Who reads everything: what is snapshot is snapshot to all who may look.
fn reader() -> Caller {
    Caller::Admin("dashboard".into())
}

/// Asks the state machine, and does not wait for ever.
async fn ask(shared: &Shared, caller: Caller, call: UserCall) -> Result<Reply, Refusal> {
    let summary = shared.mailbox.ask(move |reply_to| Event::User { reply_to, caller, call });
    Ok(tokio::time::timeout(PATIENCE, summary).await.map_err(|_| Refusal::slow())??)
}

/// `/metrics`, with what is true of a moment brought up to it.
fn scraped(app: App, registry: Registry) -> Router {
    let refresh = move |request, next: axum::middleware::Next| {
        let app = app.clone();
        async move {
            // Without an answer the numbers are those of the last time.
            if let Ok(snapshot) = app.snapshots.recent().await {
                app.shared.observer.metrics.refresh(&snapshot.workers);
            }
            next.run(request).await
        }
    };
    metrics::router(Arc::new(registry)).layer(axum::middleware::from_fn(refresh))
}

/// The newest credentials as the server wants them.
fn encryption(mut guard: watch::Receiver<GuardedServer>) -> TlsConfig {
    let (sender, tls) = watch::channel(Arc::clone(&guard.borrow_and_update().http));
    tokio::spawn(async move {
        while guard.changed().await.is_ok() {
            sender.send_replace(Arc::clone(&guard.borrow_and_update().http));
        }
    });
    tls
}
