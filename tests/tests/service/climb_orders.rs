//! Workers whose shards climb one after the other or in step (`perturbation = "shard"`): the same bytes on any number of
//! workers, whoever is late.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::job::{ExchangeFormat, JobFile, Perturbation};
use lookbehind_common::optimizer::ClimbOrder;
use lookbehind_tests::cluster::{Cluster, digest_on};
use lookbehind_tests::http;
use lookbehind_tests::jobs::{SMALL_JOB, job, on_workers, small_with};
use lookbehind_tests::scripted::{HoldAt, Scripted};
use lookbehind_worker::compute::{Backend, CandleBackend};
use lookbehind_worker::data::DataEnvironment;
use lookbehind_worker::registry::Registry;

/// The small job with k = 3, whose shards climb by themselves.
fn per_shard(shards: u32, exchange: ExchangeFormat) -> JobFile {
    small_with(|job| {
        job.optimizer.k = Some(3);
        job.optimizer.perturbation = Some(Perturbation::Shard);
        (job.train.shards, job.train.exchange) = (Some(shards), Some(exchange));
        // So long that eight workers have loaded the job before it ends.
        job.train.epochs = Some(12);
    })
}

/// A backend whose shards climb in this order.
fn climbing(cluster: &Cluster, order: ClimbOrder) -> Arc<dyn Backend> {
    let environment = DataEnvironment::local(cluster.data().to_owned(), 64 << 20);
    Arc::new(CandleBackend::new(Registry::builtin(), environment).with_climb_order(order))
}

/// A cluster of some workers, which take these orders by turns.
async fn of(workers: usize, orders: &[ClimbOrder]) -> Cluster {
    let mut cluster = Cluster::new().await;
    for (number, order) in orders.iter().cycle().take(workers).enumerate() {
        let backend = climbing(&cluster, *order);
        cluster.add(&format!("w{number}"), backend).await;
    }
    cluster
}

/// From one shard on a worker to ten: eight workers have one of eight each, two have five of ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_eight_workers_end_at_the_same_bytes_in_either_order_and_in_both() {
    let [first, second] = ClimbOrder::ALL;
    let jobs = [(8, ExchangeFormat::F32), (10, ExchangeFormat::Bf16)];
    let mut digests = Vec::new();
    let clusters: [(&[ClimbOrder], &[u32]); 3] =
        [(&[first], &[1, 2]), (&[second], &[1, 2]), (&[second, first], &[2, 3, 4, 8])];
    for (orders, numbers) in clusters {
        let cluster = of(numbers[numbers.len() - 1] as usize, orders).await;
        for (place, (shards, exchange)) in jobs.into_iter().enumerate() {
            let job = per_shard(shards, exchange);
            for &workers in numbers {
                let digest = digest_on(&cluster, &job, workers).await;
                if digests.len() == place {
                    digests.push(digest.clone());
                }
                assert_eq!(
                    digest, digests[place],
                    "{workers} workers, {orders:?}, {shards} shards, {exchange:?}"
                );
            }
        }
    }
    assert_ne!(digests[0], digests[1]);
}

/// Two workers of different orders, and weights of so many blocks that they exchange them with each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_either_order_that_exchange_with_each_other_come_to_the_bytes_of_one() {
    let text = SMALL_JOB.replace("hidden = [16]", "hidden = [1024, 1024]").replace("epochs = 2", "steps = 4");
    let mut wide = job(&text);
    wide.optimizer.perturbation = Some(Perturbation::Shard);
    let alone = digest_on(&of(1, &[ClimbOrder::OneAfterAnother]).await, &wide, 1).await;
    let with_pages = |config: &mut lookbehind_coordinator::Config| {
        config.http = Some(([127, 0, 0, 1], 0).into());
    };
    let mut cluster = Cluster::with_config(with_pages).await;
    for (order, name) in ClimbOrder::ALL.into_iter().zip(["first", "second"]) {
        let backend = climbing(&cluster, order);
        cluster.add(name, backend).await;
    }
    assert_eq!(digest_on(&cluster, &wide, 2).await, alone);
    let metrics = http::get(cluster.http_addr().expect("pages"), "/metrics").await.text;
    let of_workers = "lookbehind_exchanges_total{way=\"workers\"}";
    assert!(http::series(&metrics, of_workers) > 0.0, "nothing was exchanged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_visits_are_overtaken_changes_no_byte() {
    for (late, order) in [ClimbOrder::InStep, ClimbOrder::OneAfterAnother].into_iter().zip(ClimbOrder::ALL) {
        let job = per_shard(8, ExchangeFormat::Bf16);
        let alone = digest_on(&of(1, &[order]).await, &job, 1).await;
        let mut cluster =
            Cluster::with_config(|config| config.failure_detection = Duration::from_secs(2)).await;
        let backend = climbing(&cluster, order);
        cluster.add("in time", backend).await;
        let (gate, script) = HoldAt::new(1, 0);
        let backend = Scripted::new(climbing(&cluster, late), script);
        cluster.add("late", backend).await;
        let mut both = job.clone();
        on_workers(&mut both, 2);
        let id = cluster.client().submit(&both).await;
        let mut watcher = cluster.client().watch(&id).await;
        gate.reached().await;
        // The outer step that is held ends nonetheless: nine of each epoch come before it.
        watcher.until_step(10).await;
        gate.open();
        let history = watcher.to_the_end().await;
        history.check_whole();
        assert!(!history.said(&["late", "lost"]), "{:?}", history.notices);
        assert_eq!(history.digest(), alone);
    }
}
