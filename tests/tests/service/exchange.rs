//! Workers that exchange weights and partials with each other come to the same bytes as through the coordinator, whatever
//! fails between them.

use std::sync::Arc;

use lookbehind_common::job::{Group, JobFile};
use lookbehind_common::partial::Partial;
use lookbehind_coordinator::Config;
use lookbehind_coordinator::state::ExchangeRoute;
use lookbehind_proto::v1;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::guarded::{self, Credentials};
use lookbehind_tests::http;
use lookbehind_tests::jobs::{SMALL_JOB, job, on_workers};
use lookbehind_tests::scripted::{Script, Scripted};
use lookbehind_worker::WorkerConfig;
use lookbehind_worker::compute::{Request, RequestKind};
use lookbehind_worker::registry::Registry;
use lookbehind_worker::session::PeerListen;
use tokio::sync::OnceCell;

/// A job of five blocks: with fewer than four, everything goes through the coordinator.
pub(super) fn wide(workers: u32) -> JobFile {
    let text =
        SMALL_JOB.replace("hidden = [16]", "hidden = [1024, 1024]").replace("epochs = 2", "epochs = 1");
    let mut job = job(&text);
    on_workers(&mut job, workers);
    job
}

/// Its digest, from one worker.
pub(super) async fn expected() -> &'static str {
    static DIGEST: OnceCell<String> = OnceCell::const_new();
    let compute = || async { run(&mut Cluster::new().await, 1, |_, _| ()).await };
    DIGEST.get_or_init(compute).await
}

/// Runs the wide job on new workers; returns the digest.
async fn run(cluster: &mut Cluster, workers: u32, change: impl Fn(u32, &mut WorkerConfig)) -> String {
    for number in 1..=workers {
        let backend = cluster.backend(Registry::builtin());
        cluster.add_by(&format!("w{number}"), backend, |config| change(number, config)).await;
    }
    let history = cluster.client().run(&wide(workers)).await;
    assert_eq!(history.state(), v1::JobState::Succeeded);
    history.check_whole();
    history.digest().to_owned()
}

/// Gradients whose partials came together in this way.
async fn gradients(cluster: &Cluster, way: &str) -> f64 {
    let address = cluster.http_addr().expect("pages");
    let metrics = http::get(address, "/metrics").await.text;
    http::series(&metrics, &format!("lookbehind_exchanges_total{{way=\"{way}\"}}"))
}

async fn with_pages() -> Cluster {
    Cluster::with_config(|config| config.http = Some(([127, 0, 0, 1], 0).into())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_to_four_workers_come_to_the_bytes_of_one() {
    for workers in 2..=4 {
        let mut cluster = with_pages().await;
        assert_eq!(run(&mut cluster, workers, |_, _| ()).await, expected().await, "{workers} workers");
        assert!(gradients(&cluster, "workers").await > 0.0, "{workers} workers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_is_measured_or_chosen_and_the_bytes_are_the_same() {
    for (route, between, through) in [
        (ExchangeRoute::Measured, true, true),
        (ExchangeRoute::Workers, true, false),
        (ExchangeRoute::Coordinator, false, true),
    ] {
        let configured = |config: &mut Config| {
            config.http = Some(([127, 0, 0, 1], 0).into());
            config.exchange_route = route;
        };
        let mut cluster = Cluster::with_config(configured).await;
        assert_eq!(run(&mut cluster, 3, |_, _| ()).await, expected().await, "{route:?}");
        assert_eq!(gradients(&cluster, "workers").await > 0.0, between, "{route:?}");
        assert_eq!(gradients(&cluster, "coordinator").await > 0.0, through, "{route:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_without_connections_to_each_other_exchange_through_the_coordinator() {
    let mut cluster = with_pages().await;
    let off = |number, config: &mut WorkerConfig| {
        if number == 2 {
            config.peers = PeerListen::Off;
        }
    };
    assert_eq!(run(&mut cluster, 3, off).await, expected().await);
    assert_eq!(gradients(&cluster, "taken_over").await, 0.0);
    assert!(gradients(&cluster, "coordinator").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_the_others_cannot_reach_costs_a_takeover_and_is_done_without_from_then_on() {
    let mut cluster = with_pages().await;
    // Nothing listens there.
    let unreachable = |number, config: &mut WorkerConfig| {
        if number == 2 {
            config.advertise = Some("127.0.0.1:1".into());
        }
    };
    assert_eq!(run(&mut cluster, 4, unreachable).await, expected().await);
    assert!(gradients(&cluster, "taken_over").await > 0.0);
    let few = gradients(&cluster, "taken_over").await;
    assert!(few <= 3.0, "{few} gradients were taken over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_between_workers_are_encrypted_in_a_guarded_cluster() {
    let credentials = Credentials::new();
    let mut cluster = guarded::with(&credentials).await;
    let folder = credentials.folder("worker");
    let digest = run(&mut cluster, 3, |_, config| config.credentials = Some(folder.clone())).await;
    assert_eq!(digest, expected().await);
}

/// Partials then have other blocks than weights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gradients_without_places_for_frozen_tensors_are_exchanged_and_come_to_the_bytes_of_one_worker() {
    let mut digests = Vec::new();
    for workers in [1, 3] {
        let mut cluster = with_pages().await;
        for number in 1..=workers {
            let backend = cluster.backend(Registry::builtin());
            cluster.add(&format!("w{number}"), backend).await;
        }
        let mut job = wide(workers);
        let frozen = Group { tensors: vec!["layers.0.*".into()], frozen: Some(true), ..Group::default() };
        job.optimizer.groups = vec![frozen];
        let history = cluster.client().run(&job).await;
        history.check_whole();
        digests.push(history.digest().to_owned());
        assert_eq!(gradients(&cluster, "workers").await > 0.0, workers > 1);
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], expected().await, "the frozen layer must matter");
}

/// Sends gradients of which one value is not finite.
struct Spoil;

impl Script for Spoil {
    fn after(&self, request: &Request, _shard: u32, partial: &mut Partial) {
        if request.kind == RequestKind::Gradient && request.batch == 1 {
            partial.gradient[3] = f32::NAN;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_part_alone_is_not_finite_is_excluded_by_name_and_the_job_comes_to_its_weights() {
    let mut cluster = with_pages().await;
    for name in ["one", "two"] {
        let backend = cluster.backend(Registry::builtin());
        cluster.add(name, backend).await;
    }
    let spoiling = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(Spoil));
    cluster.add("spoiling", spoiling).await;
    let history = cluster.client().run(&wide(3)).await;
    assert!(history.said(&["spoiling", "refused", "not finite"]), "{:?}", history.notices);
    assert!(!["one", "two"].iter().any(|honest| history.said(&[&format!("worker {honest} refused")])));
    assert_eq!(history.digest(), expected().await);
    assert!(gradients(&cluster, "workers").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_are_not_finite_on_two_workers_fail_the_job_and_name_both() {
    let mut cluster = with_pages().await;
    for name in ["one", "two"] {
        let backend = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(Spoil));
        cluster.add(name, backend).await;
    }
    let message = cluster.client().run_to_failure(&wide(2)).await;
    for word in ["outer step 1", "layers.0.weight", "one, two"] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
    assert!(gradients(&cluster, "workers").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_in_the_middle_changes_nothing() {
    let mut cluster = with_pages().await;
    for number in 1..=3 {
        let backend = cluster.backend(Registry::builtin());
        cluster.add(&format!("w{number}"), backend).await;
    }
    let id = cluster.client().submit(&wide(3)).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_step(1).await;
    cluster.stop("w2").await.unwrap();
    let history = watcher.to_the_end().await;
    assert_eq!(history.digest(), expected().await);
}

/// Runs a job of two epochs on three workers, with or without a test after each of them. Returns its digest, the bytes of
/// weights that the coordinator has sent, and the number of gradients.
async fn two_epochs(tests: bool) -> (String, f64, f64) {
    let mut cluster = with_pages().await;
    for name in ["one", "two", "three"] {
        let backend = cluster.backend(Registry::builtin());
        cluster.add(name, backend).await;
    }
    let mut text = SMALL_JOB.replace("hidden = [16]", "hidden = [1024, 1024]");
    if tests {
        text = text.replace("[train]", "test = \"small.safetensors\"\n[train]");
    }
    text.push_str("\n[eval]\nevery_epochs = 1\n");
    let mut job = job(&text);
    on_workers(&mut job, 3);
    let history = cluster.client().run(&job).await;
    assert_eq!(history.state(), v1::JobState::Succeeded);
    let metrics = http::get(cluster.http_addr().expect("pages"), "/metrics").await.text;
    let sent = http::series(&metrics, "lookbehind_transfer_bytes_total{direction=\"sent\"}");
    (history.digest().to_owned(), sent, gradients(&cluster, "workers").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_weights_of_a_test_are_passed_on_and_serve_the_next_gradient() {
    let (digest, sent, gradients) = two_epochs(false).await;
    let (tested, with_tests, _) = two_epochs(true).await;
    assert_eq!(tested, digest);
    let once = sent / gradients;
    // The first test costs nothing, the last one the weights once. If the coordinator sent them to each worker, the two
    // would cost six times as much. A late block may be asked for again.
    assert!(with_tests - sent < 3.0 * once, "{sent} bytes without tests, {with_tests} with two");
}
