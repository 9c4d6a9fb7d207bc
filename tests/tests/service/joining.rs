//! Workers that join and leave while a job runs change its duration and nothing else.

use std::time::Duration;

use lookbehind_coordinator::state::WorkerGraceThen;
use lookbehind_proto::v1;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::{small, small_with};
use lookbehind_tests::scripted::{HoldAt, Scripted};
use lookbehind_worker::registry::Registry;

/// Outer steps of the small job before its second epoch.
const FIRST_EPOCH: usize = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_worker_that_registers_midway_does_its_part_and_leaves_the_bytes_as_they_are() {
    let mut cluster = Cluster::new().await;
    let (gate, script) = HoldAt::new(1, 0);
    for name in ["w1", "w2"] {
        let backend = Scripted::new(cluster.backend(Registry::builtin()), script.clone());
        cluster.add(name, backend).await;
    }
    let id = cluster.client().submit(&small()).await;
    let mut watcher = cluster.client().watch(&id).await;
    gate.reached().await;
    let third = cluster.backend(Registry::builtin());
    cluster.add("w3", third).await;
    watcher.until_said(&["w3", "takes part"]).await;
    gate.open();
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
    let (before, after) = history.steps.split_at(FIRST_EPOCH);
    assert!(before.iter().all(|step| step.workers <= 2), "the third worker came too early for the test");
    assert!(after.iter().any(|step| step.workers == 3), "the third worker did nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_midway_costs_nothing_but_its_open_request() {
    let mut cluster = Cluster::new().await;
    let (gate, script) = HoldAt::new(1, 0);
    for name in ["w1", "w2"] {
        let backend = Scripted::new(cluster.backend(Registry::builtin()), script.clone());
        cluster.add(name, backend).await;
    }
    let id = cluster.client().submit(&small()).await;
    let mut watcher = cluster.client().watch(&id).await;
    gate.reached().await;
    cluster.stop("w2").await.unwrap();
    watcher.until_said(&["w2", "leaves"]).await;
    gate.open();
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
    assert!(history.steps[FIRST_EPOCH + 1..].iter().all(|step| step.workers == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_lost_its_last_worker_goes_on_with_the_next_one() {
    let mut cluster = Cluster::new().await;
    let (gate, script) = HoldAt::new(0, 5);
    let backend = Scripted::new(cluster.backend(Registry::builtin()), script);
    cluster.add("first", backend).await;
    let id = cluster.client().submit(&small()).await;
    let mut watcher = cluster.client().watch(&id).await;
    gate.reached().await;
    cluster.stop("first").await.unwrap();
    watcher.until_said(&["first", "leaves"]).await;
    assert_eq!(cluster.client().job(&id).await.workers, 0);
    gate.open();
    let second = cluster.backend(Registry::builtin());
    cluster.add("second", second).await;
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_that_no_worker_joins_waits_in_the_queue_and_goes_on_from_its_checkpoint() {
    let (mut cluster, id) = abandoned(WorkerGraceThen::Queue).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_said(&["no worker joined", "goes on from outer step 4"]).await;
    assert_eq!(cluster.client().job(&id).await.state(), v1::JobState::Queued);
    let next = cluster.backend(Registry::builtin());
    cluster.add("next", next).await;
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
    let told = history.notices.iter().filter(|notice| notice.message.contains("no worker joined"));
    assert_eq!(told.count(), 1, "{:?}", history.notices);
    assert!(history.said(&["goes on from outer step 4; outer steps up to 5 are done again"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_that_no_worker_joins_fails_where_the_coordinator_is_told_so() {
    let (mut cluster, id) = abandoned(WorkerGraceThen::Fail).await;
    let history = cluster.client().finish(&id).await;
    assert_eq!(history.state(), v1::JobState::Failed);
    assert!(history.message().contains("no worker joined"), "{}", history.message());
    let next = cluster.backend(Registry::builtin());
    cluster.add("next", next).await;
    cluster.still_works().await;
}

/// A coordinator with a short grace period, and a job whose only worker has left it in its sixth outer step.
async fn abandoned(then: WorkerGraceThen) -> (Cluster, String) {
    let mut cluster = Cluster::with_config(|config| {
        config.failure_detection = Duration::from_secs(2);
        config.worker_grace = Duration::from_millis(500);
        config.worker_grace_then = then;
    })
    .await;
    let (gate, script) = HoldAt::new(0, 5);
    let backend = Scripted::new(cluster.backend(Registry::builtin()), script);
    cluster.add("only", backend).await;
    let checkpointed = small_with(|job| job.checkpoint.every_steps = Some(4));
    let id = cluster.client().submit(&checkpointed).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_said(&["checkpoint of outer step 4"]).await;
    gate.reached().await;
    cluster.stop("only").await.unwrap();
    gate.open();
    (cluster, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_until_it_has_the_workers_that_it_asks_for() {
    let mut cluster = Cluster::of(1).await;
    let picky = small_with(|job| job.resources.min_workers = Some(2));
    let id = cluster.client().submit(&picky).await;
    // A job that can start overtakes one that cannot.
    cluster.still_works().await;
    assert_eq!(cluster.client().job(&id).await.state(), v1::JobState::Queued);
    let second = cluster.backend(Registry::builtin());
    cluster.add("w2", second).await;
    let history = cluster.client().finish(&id).await;
    assert_eq!(history.digest(), small_digest().await);
    assert_eq!(history.most_workers(), 2);
}
