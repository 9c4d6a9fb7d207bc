//! Strangers who connect, call and open pages as much as they can: users, administrators and workers are served
//! meanwhile.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use lookbehind_identity::{Access, Folder};
use lookbehind_proto::v1;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::guarded::{Credentials, client};
use lookbehind_tests::unfinished::ended;
use reqwest::StatusCode;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::connections::{address, encrypted, impatient};
use super::pages::{Browser, guarded, secret};

/// A cluster whose failure detection is so patient that no connection is closed for being useless.
async fn patient(credentials: &Credentials, connections: usize) -> Cluster {
    let coordinator = credentials.folder("coordinator");
    Cluster::guarded(&credentials.folder("admin"), |config| {
        config.credentials = Some(coordinator);
        config.max_connections = connections;
    })
    .await
}

async fn list(user: &Client) -> Result<(), Status> {
    let mut jobs = user.jobs();
    let listed = jobs.list_jobs(v1::ListJobsRequest::default());
    within("an answer", listed).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out() {
    let credentials = Credentials::new();
    let cluster = patient(&credentials, 100).await;
    let early = client(cluster.url(), &credentials.folder("alice"));
    list(&early).await.unwrap();
    // More than all places, first without and then with a handshake.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address(&cluster)).await.unwrap());
    }
    list(&client(cluster.url(), &credentials.folder("bob"))).await.expect("a place for bob");
    let mut handshakes = Vec::new();
    for _ in 0..150 {
        handshakes.push(encrypted(&cluster, &credentials).await);
    }
    list(&client(cluster.url(), &credentials.folder("bob"))).await.expect("a place for bob");
    list(&early).await.expect("alice has kept her place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_callers_beyond_the_limit_of_connections_are_told_so() {
    let credentials = Credentials::new();
    let cluster = patient(&credentials, 2).await;
    let connected = || client(cluster.url(), &credentials.folder("admin"));
    let (first, second) = (connected(), connected());
    list(&first).await.unwrap();
    list(&second).await.unwrap();
    let refused = list(&connected()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("connections: the limit of 2"), "{refused}");
    list(&first).await.expect("the first has its place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_gets_a_quarter_of_the_connections_and_one_certificate_of_workers_a_half() {
    let credentials = Credentials::new();
    let cluster = patient(&credentials, 8).await;
    let of = |name: &str| client(cluster.url(), &credentials.folder(name));
    let held = [of("alice"), of("alice")];
    for alice in &held {
        list(alice).await.unwrap();
    }
    let refused = list(&of("alice")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("connections of one user: the limit of 2"), "{refused}");
    let mut workers = Vec::new();
    loop {
        let access = Access::new(cluster.url(), Some(Folder::new(credentials.folder("worker")))).unwrap();
        let channel = access.connect_lazy(&access.endpoint());
        // This is for everyone with a role.
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        if call(channel.clone(), reflection).await == Code::ResourceExhausted {
            break;
        }
        workers.push(channel);
        assert!(workers.len() <= 4, "a fifth connection was let in");
    }
    assert_eq!(workers.len(), 4);
    let bob = of("bob");
    list(&bob).await.expect("a place for bob");
    list(&held[0]).await.expect("alice has kept hers");
}

/// The most calls of one user that wait at the same time are fewer than these.
const AT_ONCE: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_calls_too_fast_over_many_connections_waits_and_others_do_not() {
    let credentials = Credentials::new();
    let cluster = impatient(&credentials).await;
    let of = |name: &str| client(cluster.url(), &credentials.folder(name));
    let connections = [0; 4].map(|_| Arc::new(of("alice")));
    let mut calls = JoinSet::new();
    for alice in connections.iter().cycle().take(AT_ONCE) {
        let alice = Arc::clone(alice);
        calls.spawn(async move {
            for _ in 0..1000 {
                if let Err(status) = list(&alice).await {
                    return Some(status);
                }
            }
            None
        });
    }
    let refused = loop {
        let ended = within("a call that is refused", calls.join_next()).await;
        let ended = ended.expect("one of the calls is refused").expect("no panic");
        if let Some(status) = ended {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("calls per second of one user: the limit of 200"), "{refused}");
    list(&of("bob")).await.expect("bob has a rate of his own");
    calls.shutdown().await;
}

/// Makes calls, many at a time, until one ends in another way than those before; returns how.
async fn flood(channel: Channel, usual: Code, path: &'static str) -> Option<Code> {
    for _ in 0..1000 {
        // No more at a time than a stranger may have under way.
        let calls = (0..8).map(|_| tokio::spawn(call(channel.clone(), path)));
        for call in calls.collect::<Vec<_>>() {
            let code = within("the end of a call", call).await.unwrap();
            if code != usual {
                return Some(code);
            }
        }
    }
    None
}

async fn call(mut channel: Channel, path: &'static str) -> Code {
    let empty = Full::new(Bytes::from_static(&[0; 5]));
    let request = http::Request::post(format!("https://coordinator{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(empty))
        .unwrap();
    if let Err(error) = std::future::poll_fn(|context| channel.poll_ready(context)).await {
        return Status::from_error(error.into()).code();
    }
    ended(channel.call(request).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refused_or_public_calls_ends_with_its_connection() {
    let credentials = Credentials::new();
    let cluster = patient(&credentials, 100).await;
    let alice = client(cluster.url(), &credentials.folder("alice"));
    list(&alice).await.unwrap();
    let stranger = credentials.only("alice", &["ca.pem"], "stranger");
    for (path, usual) in [
        ("/lookbehind.v1.JobService/ListJobs", Code::Unauthenticated),
        ("/grpc.health.v1.Health/Check", Code::Ok),
        ("/lookbehind.v1.Nothing/Nothing", Code::Unimplemented),
    ] {
        let access = Access::new(cluster.url(), Some(Folder::new(&stranger))).unwrap();
        let ended = flood(access.connect_lazy(&access.endpoint()), usual, path).await;
        assert!(ended.is_some(), "{path}: all calls were answered");
        list(&alice).await.expect("alice keeps her connection");
        list(&client(cluster.url(), &credentials.folder("bob"))).await.expect("bob is let in");
    }
}

/// A browser at the address 127.0.0.`last`.
fn guest_at(cluster: &Cluster, credentials: &Credentials, last: u8) -> Browser {
    let address = IpAddr::from([127, 0, 0, last]);
    Browser::with(cluster, Some(credentials), |builder| builder.local_address(address))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_a_guest_does_not_read_take_its_places_and_none_of_others() {
    /// Requests of one address that are under way.
    const REQUESTS: usize = 16;
    let (cluster, credentials) = guarded(false).await;
    let unread = Browser::with(&cluster, Some(&credentials), |builder| {
        let builder = builder.local_address(IpAddr::from([127, 0, 0, 2]));
        builder.http2_prior_knowledge().http2_initial_stream_window_size(0_u32)
    });
    let mut held = Vec::new();
    for _ in 0..REQUESTS {
        let answer = within("an answer", unread.get("/api/overview").send()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        held.push(answer);
    }
    let further = within("an answer", unread.get("/api/overview").send()).await.unwrap();
    assert_eq!(further.status(), StatusCode::SERVICE_UNAVAILABLE);
    let other = guest_at(&cluster, &credentials, 3).get("/api/overview").send();
    assert_eq!(within("an answer", other).await.unwrap().status(), StatusCode::OK);
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_of_one_address_take_a_quarter_of_the_pages_and_none_of_those_of_users() {
    /// Of one address.
    const PAGES: usize = 64;
    let (cluster, credentials) = guarded(false).await;
    let mut pages = Vec::new();
    // Each browser has a connection of its own, and a connection has a limit of requests.
    for _ in 0..PAGES / 16 {
        let browser = Browser::at(&cluster, Some(&credentials));
        for _ in 0..16 {
            let page = within("a page", browser.get("/api/live").send()).await.unwrap();
            assert_eq!(page.status(), StatusCode::OK);
            pages.push(page);
        }
    }
    let browser = Browser::at(&cluster, Some(&credentials));
    let further = within("an answer", browser.get("/api/live").send()).await.unwrap();
    assert_eq!(further.status(), StatusCode::SERVICE_UNAVAILABLE);
    for name in ["alice", "admin"] {
        let request = browser.get("/api/live").bearer_auth(secret(&credentials, name));
        let page = within("a page", request.send()).await.unwrap();
        assert_eq!(page.status(), StatusCode::OK, "{name}");
    }
    drop(pages);
}
