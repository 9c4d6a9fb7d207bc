//! `resources.verify`: a worker with wrong gradients is found, and honest workers come to the same weights as ever.

use std::sync::Arc;

use lookbehind_common::partial::Partial;
use lookbehind_proto::v1;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::guarded::Credentials;
use lookbehind_tests::jobs::{on_workers, small_with};
use lookbehind_tests::scripted::{Script, Scripted};
use lookbehind_worker::compute::Request;
use lookbehind_worker::registry::Registry;

/// Adds a small constant to the gradients.
struct Adds;

impl Script for Adds {
    fn after(&self, _request: &Request, _shard: u32, partial: &mut Partial) {
        partial.gradient.iter_mut().for_each(|element| *element += 1e-4);
    }
}

/// Runs the small job with `verify` on an honest worker and one that lies; returns the job and its last message.
async fn with_a_liar(verify: u32) -> (v1::JobState, String, u64) {
    let mut cluster = Cluster::new().await;
    cluster.add("honest", cluster.backend(Registry::builtin())).await;
    let lying = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(Adds));
    cluster.add("liar", lying).await;
    let mut job = small_with(|job| job.resources.verify = Some(verify));
    job.train.epochs = Some(20);
    on_workers(&mut job, 2);
    let id = cluster.client().submit(&job).await;
    let history = cluster.client().watch(&id).await.to_the_end().await;
    (history.state(), history.message().to_owned(), history.steps.len() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_adds_a_constant_is_found_within_the_stated_number_of_outer_steps() {
    // Two workers, one shard of each outer step: within 20 * 2 / 1 outer steps.
    let (state, message, outer_steps) = with_a_liar(1).await;
    assert_eq!(state, v1::JobState::Failed, "{message}");
    assert!(
        message.contains("honest") && message.contains("liar") && message.contains("disagree"),
        "{message}"
    );
    assert!(outer_steps < 40, "found after {outer_steps} outer steps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_verification_the_wrong_gradients_count() {
    let (state, message, outer_steps) = with_a_liar(0).await;
    assert_eq!((state, outer_steps), (v1::JobState::Succeeded, 180), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_workers_come_to_the_same_weights_and_the_job_says_what_was_verified() {
    let cluster = Cluster::of(3).await;
    for verify in [1, 5, 1000] {
        let mut job = small_with(|job| job.resources.verify = Some(verify));
        on_workers(&mut job, 3);
        let history = cluster.client().run(&job).await;
        assert_eq!(history.digest(), small_digest().await);
        let message = history.message();
        assert!(message.starts_with("finished; ") && !message.contains("finished; 0 shards"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_one_identity_verify_nothing_and_the_job_waits_for_a_second_one() {
    let credentials = Credentials::new();
    let mut cluster = lookbehind_tests::guarded::with(&credentials).await;
    for name in ["w1", "w2"] {
        let backend = cluster.backend(Registry::builtin());
        cluster.add_as(name, backend, &credentials.folder("worker")).await;
    }
    let mut job = small_with(|job| job.resources.verify = Some(1000));
    on_workers(&mut job, 2);
    let id = cluster.client().submit(&job).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_said(&["waits for a worker of a second identity", "resources.verify"]).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_as("w3", backend, &credentials.folder("other-worker")).await;
    let history = watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    assert!(!history.message().contains("finished; 0 shards"), "{}", history.message());
    assert_eq!(history.digest(), small_digest().await);
}
