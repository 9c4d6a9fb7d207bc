//! Useless connections: they are closed, and disturb no other caller.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use lookbehind_identity::{Access, Folder};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::guarded::{Credentials, client};
use lookbehind_tests::jobs;
use lookbehind_worker::registry::Registry;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};

/// Number of idle connections.
const IDLE: usize = 1000;

pub(super) fn address(cluster: &Cluster) -> String {
    cluster.url().rsplit('/').next().unwrap().to_owned()
}

/// A TLS connection without a client certificate.
pub(super) async fn encrypted(
    cluster: &Cluster,
    credentials: &Credentials,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let anonymous = credentials.only("alice", &["ca.pem"], "anonymous");
    let access = Access::new(cluster.url(), Some(Folder::new(anonymous))).unwrap();
    let connector = TlsConnector::from(access.client_config().unwrap());
    let name = ServerName::try_from("127.0.0.1").unwrap();
    connector.connect(name, TcpStream::connect(address(cluster)).await.unwrap()).await.unwrap()
}

/// Waits until the other side closes the connection; returns how long that took.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> Duration {
    let begun = Instant::now();
    let mut buffer = [0; 1024];
    within("the connection to be closed", async {
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    })
    .await;
    begun.elapsed()
}

/// A guarded cluster with a short failure detection.
pub(super) async fn impatient(credentials: &Credentials) -> Cluster {
    let coordinator = credentials.folder("coordinator");
    Cluster::guarded(&credentials.folder("admin"), |config| {
        config.credentials = Some(coordinator);
        config.failure_detection = Duration::from_millis(500);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_connects_is_closed_again_at_every_stage() {
    let credentials = Credentials::new();
    let cluster = impatient(&credentials).await;
    closed(TcpStream::connect(address(&cluster)).await.unwrap()).await;
    closed(encrypted(&cluster, &credentials).await).await;
    let mut half = encrypted(&cluster, &credentials).await;
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
    closed(half).await;
    // A connection stays open once a call on it was authorised.
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let call = || async { alice.jobs().list_jobs(v1::ListJobsRequest::default()).await.map(drop) };
    call().await.unwrap();
    closed(TcpStream::connect(address(&cluster)).await.unwrap()).await;
    call().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_delay_no_heartbeat() {
    let credentials = Credentials::new();
    let mut cluster = impatient(&credentials).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_as("w1", backend, &credentials.folder("worker")).await;
    let job = jobs::small_with(|job| job.train.epochs = Some(40));
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let id = alice.submit(&job).await;
    let mut watcher = alice.watch(&id).await;
    watcher.until_step(1).await;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(address(&cluster)).await.unwrap());
    }
    // A worker that was silent for half a second would have been given up, and have another session now.
    let before = alice.workers().await[0].session;
    let history = within("the job to finish", watcher.to_the_end()).await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    assert_eq!(alice.workers().await[0].session, before, "the worker was never lost");
    assert!(!history.said(&["lost"]));
    assert_eq!(idle.len(), IDLE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_dribbles_in_is_given_up_and_an_oversized_one_refused() {
    let credentials = Credentials::new();
    let cluster = impatient(&credentials).await;
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let mut spec = wire::to_proto(&jobs::small());
    spec.name = "x".repeat(5 << 20);
    let status = alice.create(spec).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let status = slow_request(&alice).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("did not arrive in time"), "{status}");
}

/// Begins a call and never completes its request.
async fn slow_request(alice: &lookbehind_tests::client::Client) -> Status {
    let mut calls = alice.channel();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    // The prefix of a message of a hundred bytes.
    let head = Frame::data(Bytes::from_static(&[0, 0, 0, 0, 100]));
    sender.send(Ok::<_, Status>(head)).await.unwrap();
    let body = tonic::body::Body::new(StreamBody::new(ReceiverStream::new(receiver)));
    let request = http::Request::post("https://coordinator/lookbehind.v1.JobService/CreateJob")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    std::future::poll_fn(|context| calls.poll_ready(context)).await.unwrap();
    let answer = within("an answer", calls.call(request)).await.unwrap();
    drop(sender);
    Status::from_header_map(answer.headers()).expect("a status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_job_is_not_disturbed_by_all_that() {
    let credentials = Credentials::new();
    let mut cluster = impatient(&credentials).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_as("w1", backend, &credentials.folder("worker")).await;
    let alice = client(cluster.url(), &credentials.folder("alice"));
    assert_eq!(alice.run(&jobs::small()).await.digest(), small_digest().await);
}
