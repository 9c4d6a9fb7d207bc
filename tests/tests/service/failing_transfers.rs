//! Workers that are registered but cannot transfer tensors, because of something between them and the coordinator: the
//! job says who and why, and goes on without them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use lookbehind_proto::v1;
use lookbehind_proto::v1::{tensor_service_server, worker_service_server};
use lookbehind_tests::client::History;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::{on_workers, small, small_with};
use lookbehind_tests::proxy::Proxy;
use lookbehind_worker::registry::Registry;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};

/// Most notices that a job may have: those of an undisturbed run, and a few on the worker.
const MOST_NOTICES: usize = 16;

/// A proxy that knows HTTP: it answers some calls itself, with the status 413.
struct Refusing {
    url: String,
    sessions: Arc<AtomicU64>,
    _end: DropGuard,
}

impl Refusing {
    /// A proxy for the coordinator at `url`, which refuses partials.
    async fn new(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, end) = (listener.local_addr().unwrap(), CancellationToken::new());
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
        let sessions = Arc::<AtomicU64>::default();
        let calls = Forwarded { channel, sessions: Arc::clone(&sessions) };
        let server = Server::builder()
            .add_service(Workers(calls.clone()))
            .add_service(Tensors(calls))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), end.clone().cancelled_owned());
        tokio::spawn(server);
        Self { url: format!("http://{address}"), sessions, _end: end.drop_guard() }
    }

    /// How often a worker has asked to be registered.
    fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// Calls that are forwarded or refused.
#[derive(Clone)]
struct Forwarded {
    channel: Channel,
    sessions: Arc<AtomicU64>,
}

impl Forwarded {
    async fn answer(mut self, request: http::Request<Body>) -> http::Response<Body> {
        let answered = |status| {
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = status;
            response
        };
        let path = request.uri().path();
        if path.ends_with("/UploadPartial") {
            return answered(http::StatusCode::PAYLOAD_TOO_LARGE);
        }
        if path.ends_with("/Session") {
            self.sessions.fetch_add(1, Ordering::Relaxed);
        }
        if std::future::poll_fn(|context| self.channel.poll_ready(context)).await.is_err() {
            return answered(http::StatusCode::BAD_GATEWAY);
        }
        let forwarded = self.channel.call(request).await;
        forwarded.unwrap_or_else(|_| answered(http::StatusCode::BAD_GATEWAY))
    }
}

/// The proxy as one service of the coordinator.
macro_rules! forwarded {
    ($name:ident, $service:expr) => {
        #[derive(Clone)]
        struct $name(Forwarded);

        impl NamedService for $name {
            const NAME: &'static str = $service;
        }

        impl Service<http::Request<Body>> for $name {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<Self::Response, Infallible>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                let calls = self.0.clone();
                Box::pin(async move { Ok(calls.answer(request).await) })
            }
        }
    };
}

forwarded!(Workers, worker_service_server::SERVICE_NAME);
forwarded!(Tensors, tensor_service_server::SERVICE_NAME);

/// A cluster whose worker `bad` is behind the refusing proxy.
async fn with_bad() -> (Cluster, Refusing) {
    let mut cluster = Cluster::new().await;
    let proxy = Refusing::new(cluster.url()).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_behind("bad", backend, proxy.url.clone()).await;
    (cluster, proxy)
}

fn check_bounded(history: &History) {
    assert!(history.notices.len() <= MOST_NOTICES, "{:?}", history.notices);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_without_a_worker_whose_uploads_are_refused_on_the_way_and_says_so() {
    let (mut cluster, proxy) = with_bad().await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("honest", backend).await;
    let history = cluster.client().run(&small_with(|job| on_workers(job, 2))).await;
    assert!(history.said(&["bad", "upload", "413"]), "{:?}", history.notices);
    check_bounded(&history);
    assert_eq!(history.digest(), small_digest().await);
    assert_eq!(proxy.sessions(), 1, "the worker registered again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_only_worker_cannot_upload_says_why_and_waits_for_another() {
    let (mut cluster, proxy) = with_bad().await;
    let id = cluster.client().submit(&small()).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_said(&["worker bad refused", "in a row", "413"]).await;
    watcher.until_state(v1::JobState::Queued).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("honest", backend).await;
    let history = watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    assert!(history.said(&["waits for a worker that can serve it", "bad", "413"]), "{:?}", history.notices);
    check_bounded(&history);
    assert_eq!(history.digest(), small_digest().await);
    assert_eq!(proxy.sessions(), 1, "the worker registered again");
}

/// The small job with a model whose partials do not fit through the proxy that cuts uploads.
fn wide() -> lookbehind_common::job::JobFile {
    let text = lookbehind_tests::jobs::SMALL_JOB.replace("hidden = [16]", "hidden = [512]");
    lookbehind_tests::jobs::job(&text)
}

/// Bytes after which the proxy cuts a connection: about half of a partial.
const HALF: u64 = 64 * 512 * 4 / 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_without_a_worker_whose_uploads_are_cut_half_way() {
    let mut cluster = Cluster::new().await;
    let proxy = Proxy::new(cluster.url()).await;
    proxy.cut_after(HALF);
    let backend = cluster.backend(Registry::builtin());
    cluster.add_behind("bad", backend, proxy.url()).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("honest", backend).await;
    let mut job = wide();
    on_workers(&mut job, 2);
    let history = cluster.client().run(&job).await;
    assert!(history.said(&["bad", "transfer"]), "{:?}", history.notices);
    check_bounded(&history);
    let undisturbed = Cluster::of(1).await.client().run(&wide()).await;
    assert_eq!(history.digest(), undisturbed.digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_only_worker_cannot_send_the_initial_weights_fails_and_says_why() {
    let mut cluster = Cluster::new().await;
    let proxy = Proxy::new(cluster.url()).await;
    proxy.cut_after(HALF);
    let backend = cluster.backend(Registry::builtin());
    cluster.add_behind("bad", backend, proxy.url()).await;
    let id = cluster.client().submit(&wide()).await;
    let history = cluster.client().finish(&id).await;
    assert_eq!(history.state(), v1::JobState::Failed, "{}", history.message());
    assert!(history.said(&["worker bad", "in a row", "initial weights"]), "{:?}", history.notices);
    check_bounded(&history);
}
