//! Values that are not finite end a job; the error names the outer step and the tensor.

use std::sync::Arc;

use lookbehind_common::partial::Partial;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::{on_workers, small_with};
use lookbehind_tests::scripted::{Script, Scripted};
use lookbehind_worker::compute::{Request, RequestKind};
use lookbehind_worker::registry::Registry;

/// Replaces one value of one shard's gradient: the fourth of `layers.0.bias`, which follows a weight of 16 × 64.
struct Spoil(f32);

impl Script for Spoil {
    fn after(&self, request: &Request, shard: u32, partial: &mut Partial) {
        if request.kind == RequestKind::Gradient && (request.epoch, request.batch, shard) == (0, 4, 2) {
            partial.gradient[16 * 64 + 3] = self.0;
        }
    }
}

/// Sends gradients that are not finite, all the time.
struct SpoilAll;

impl Script for SpoilAll {
    fn after(&self, request: &Request, _shard: u32, partial: &mut Partial) {
        if request.kind == RequestKind::Gradient {
            partial.gradient[3] = f32::NAN;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gradient_that_is_not_finite_fails_the_job_by_outer_step_and_tensor() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut cluster = Cluster::new().await;
        let backend = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(Spoil(value)));
        cluster.add("spoiling", backend).await;
        let message = cluster.client().run_to_failure(&small_with(|_| ())).await;
        for word in ["outer step 4", "layers.0.bias"] {
            assert!(message.contains(word), "expected {word:?} in {message:?}");
        }
        cluster.stop("spoiling").await.unwrap();
        let backend = cluster.backend(Registry::builtin());
        cluster.add("good", backend).await;
        cluster.still_works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_gradient_alone_is_not_finite_is_excluded_by_name_and_the_job_comes_to_its_weights() {
    let mut cluster = Cluster::new().await;
    cluster.add("honest", cluster.backend(Registry::builtin())).await;
    let spoiling = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(SpoilAll));
    cluster.add("spoiling", spoiling).await;
    let mut job = small_with(|_| ());
    on_workers(&mut job, 2);
    let history = cluster.client().run(&job).await;
    assert!(history.said(&["spoiling", "refused", "not finite", "honest"]), "{:?}", history.notices);
    assert_eq!(history.digest(), small_digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gradient_that_is_not_finite_on_two_workers_fails_the_job_and_names_both() {
    let mut cluster = Cluster::new().await;
    for name in ["one", "two"] {
        let backend = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(Spoil(f32::NAN)));
        cluster.add(name, backend).await;
    }
    let mut job = small_with(|_| ());
    on_workers(&mut job, 2);
    let message = cluster.client().run_to_failure(&job).await;
    for word in ["outer step 4", "layers.0.bias", "one, two"] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_weights_explode_fails_by_outer_step() {
    let cluster = Cluster::of(2).await;
    let exploding = small_with(|job| {
        job.optimizer.base.lr = Some(1e6);
        job.optimizer.base.weight_decay = Some(1e6);
    });
    let message = cluster.client().run_to_failure(&exploding).await;
    assert!(message.contains("outer step"), "{message}");
    assert!(message.contains("layers.") || message.contains("loss"), "{message}");
    cluster.still_works().await;
}
