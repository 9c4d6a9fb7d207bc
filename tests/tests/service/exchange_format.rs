//! Jobs whose gradients are added and exchanged in bf16 (`train.exchange`).

use std::sync::Arc;

use lookbehind_common::job::{ExchangeFormat, JobFile, Perturbation};
use lookbehind_common::partial::Partial;
use lookbehind_proto::v1;
use lookbehind_tests::cluster::{Cluster, digest_on, small_digest};
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use lookbehind_tests::http;
use lookbehind_tests::jobs::{SMALL_JOB, job, on_workers, small_with};
use lookbehind_tests::scripted::{Script, Scripted};
use lookbehind_tests::toy;
use lookbehind_worker::compute::{Request, RequestKind};
use lookbehind_worker::registry::Registry;

fn rounded(change: impl FnOnce(&mut JobFile)) -> JobFile {
    small_with(|job| {
        job.train.exchange = Some(ExchangeFormat::Bf16);
        change(job);
    })
}

fn per_shard(job: &mut JobFile) {
    job.optimizer.perturbation = Some(Perturbation::Shard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_eight_workers_end_at_the_same_bytes_and_not_at_those_of_f32() {
    let cluster = Cluster::of(8).await;
    let odd = |job: &mut JobFile| job.train.shards = Some(11);
    for change in [|_: &mut JobFile| (), per_shard, odd] {
        let mut job = rounded(change);
        // So long that eight workers have loaded the job before it ends.
        job.train.epochs = Some(12);
        let one = digest_on(&cluster, &job, 1).await;
        for workers in [2, 3, 4, 8] {
            assert_eq!(digest_on(&cluster, &job, workers).await, one, "{workers}: {:?}", job.train);
        }
        let mut exact = job;
        exact.train.exchange = Some(ExchangeFormat::F32);
        assert_ne!(digest_on(&cluster, &exact, 1).await, one);
    }
    let default = small_with(|job| job.train.exchange = Some(ExchangeFormat::F32));
    assert_eq!(digest_on(&cluster, &default, 1).await, small_digest().await, "f32 is the default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_in_the_process_and_beyond_the_network_round_alike() {
    let mut cluster = Cluster::of(1).await;
    let alone = digest_on(&cluster, &rounded(|_| ()), 1).await;
    let backend = cluster.backend(Registry::builtin());
    let tensors = cluster.tensors();
    cluster.add_in_process("within", backend, tensors).await;
    // Each outer step has segments that both compute, whose checksums must not depend on how they came.
    let both = rounded(|job| job.resources.verify = Some(2));
    assert_eq!(digest_on(&cluster, &both, 2).await, alone);
    cluster.stop("w1").await.unwrap();
    assert_eq!(digest_on(&cluster, &rounded(|_| ()), 1).await, alone);
}

/// A job of several blocks, which workers exchange with each other.
fn wide(workers: u32, change: impl FnOnce(&mut JobFile)) -> JobFile {
    let text =
        SMALL_JOB.replace("hidden = [16]", "hidden = [1024, 1024]").replace("epochs = 2", "epochs = 1");
    let mut job = job(&text);
    job.train.exchange = Some(ExchangeFormat::Bf16);
    on_workers(&mut job, workers);
    change(&mut job);
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_exchange_with_each_other_come_to_the_bytes_of_one_also_if_one_leaves() {
    let with_pages = |config: &mut lookbehind_coordinator::Config| {
        config.http = Some(([127, 0, 0, 1], 0).into());
    };
    let mut cluster = Cluster::with_config(with_pages).await;
    let add = async |cluster: &mut Cluster, name: &str| {
        let backend = cluster.backend(Registry::builtin());
        cluster.add(name, backend).await;
    };
    for (round, change) in [|_: &mut JobFile| (), per_shard].into_iter().enumerate() {
        let [first, second, third] = ["a", "b", "c"].map(|name| format!("{name}{round}"));
        add(&mut cluster, &first).await;
        let alone = cluster.client().run(&wide(1, change)).await.digest().to_owned();
        add(&mut cluster, &second).await;
        add(&mut cluster, &third).await;
        let id = cluster.client().submit(&wide(3, change)).await;
        let mut watcher = cluster.client().watch(&id).await;
        watcher.until_step(2).await;
        let metrics = http::get(cluster.http_addr().expect("pages"), "/metrics").await.text;
        let of_workers = "lookbehind_exchanges_total{way=\"workers\"}";
        assert!(http::series(&metrics, of_workers) > 0.0, "nothing was exchanged");
        cluster.stop(&second).await.unwrap();
        let history = watcher.to_the_end().await;
        history.check_whole();
        assert_eq!(history.digest(), alone);
        cluster.stop(&first).await.unwrap();
        cluster.stop(&third).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gradients_take_half_the_bytes_on_the_way() {
    let mut received = Vec::new();
    for exchange in [ExchangeFormat::F32, ExchangeFormat::Bf16] {
        let with_pages = |config: &mut lookbehind_coordinator::Config| {
            config.http = Some(([127, 0, 0, 1], 0).into());
        };
        let mut cluster = Cluster::with_config(with_pages).await;
        let backend = cluster.backend(Registry::builtin());
        cluster.add("w1", backend).await;
        // From given weights, so that gradients are all that is received.
        let history = cluster.client().run(&rounded(|job| job.train.exchange = Some(exchange))).await;
        history.check_whole();
        let metrics = http::get(cluster.http_addr().expect("pages"), "/metrics").await.text;
        let gradients = f64::from(history.gradients().iter().sum::<u32>());
        let total = http::series(&metrics, "lookbehind_transfer_bytes_total{direction=\"received\"}");
        received.push((total, gradients));
    }
    let [(exact, gradients), (halved, again)] = received[..] else { panic!("two runs") };
    assert_eq!(gradients, again);
    // 64 → 16 → 10 with biases; the initial weights are received once, as f32.
    let parameters = 64.0 * 16.0 + 16.0 + 16.0 * 10.0 + 10.0;
    assert_eq!(exact, 4.0 * parameters * (gradients + 1.0));
    assert_eq!(halved, 2.0 * parameters * gradients + 4.0 * parameters);
}

/// Makes one value of one shard's gradient too large for bf16: the fourth of `layers.0.bias`, after a weight of 16 × 64.
struct TooLarge;

impl Script for TooLarge {
    fn after(&self, request: &Request, shard: u32, partial: &mut Partial) {
        if request.kind == RequestKind::Gradient && (request.epoch, request.batch, shard) == (0, 4, 2) {
            partial.gradient[16 * 64 + 3] = f32::MAX;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_becomes_infinite_fails_the_job_by_tensor_shard_and_worker() {
    let mut cluster = Cluster::new().await;
    let backend = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(TooLarge));
    cluster.add("large", backend).await;
    let message = cluster.client().run_to_failure(&rounded(|_| ())).await;
    for word in ["large", "shard 2", "layers.0.bias", "value 3", "infinite", "bf16", "train.exchange"] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
}

/// Makes values of all shards so large that their sum is too large for bf16, and for f32 it is not.
struct TooLargeTogether;

impl Script for TooLargeTogether {
    fn after(&self, request: &Request, _shard: u32, partial: &mut Partial) {
        if request.kind == RequestKind::Gradient {
            // The largest bf16 is 255 · 2¹²⁰; eight times this are 255.5 · 2¹²⁰ and more.
            partial.gradient[16 * 64 + 3] = 32.0 * 2_f32.powi(120) - 2_f32.powi(115);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_that_becomes_infinite_fails_the_job_by_tensor_and_says_in_which_format_it_was_added() {
    let mut cluster = Cluster::new().await;
    let backend = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(TooLargeTogether));
    cluster.add("large", backend).await;
    let message = cluster.client().run_to_failure(&rounded(|_| ())).await;
    for word in ["layers.0.bias", "gradients are added in bf16 (train.exchange)"] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_in_another_format_than_the_jobs_is_refused() {
    let cluster = Cluster::new().await;
    let mut worker = FakeWorker::register(cluster.client(), hello("fake")).await.unwrap();
    let mut job = toy::toy();
    job.train.exchange = Some(ExchangeFormat::Bf16);
    cluster.client().submit(&job).await;
    let request = worker.start_toy().await;
    let (header, pieces) = worker.partial(&request, request.segments[0]);
    let refused = worker.upload_partial(header.clone(), pieces.clone()).await.unwrap_err();
    for word in ["expected a gradient in bf16", "train.exchange", "found one in f32"] {
        assert!(refused.message().contains(word), "expected {word:?} in {refused}");
    }
    let unknown = v1::PartialHeader { gradient_format: 99, ..header };
    let refused = worker.upload_partial(unknown, pieces).await.unwrap_err();
    assert!(refused.message().contains("gradient_format: expected a known value"), "{refused}");
}
