//! The parity fixtures, which were computed with the method's published reference code.

use std::sync::{Arc, Condvar, Mutex};

use lookbehind_common::job::{JobFile, parse_toml};
use lookbehind_tests::client::{History, PATIENCE};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::{MLP_CASES, RESNET_CASES, on_workers, parity};
use lookbehind_tests::reference::{Tensors, read_tensors, relative_error};
use lookbehind_tests::scripted::{Script, Scripted};
use lookbehind_worker::compute::Request;
use lookbehind_worker::registry::Registry;

/// Largest error of a run, relative to the distance that the weights moved.
const TOLERANCE: f64 = 1e-4;
const SHARDS: [u32; 4] = [1, 2, 3, 8];
const WORKERS: [u32; 3] = [1, 2, 3];

/// The case's job unchanged, with its files where the cluster finds them.
async fn prepared(cluster: &Cluster, case: &str) -> JobFile {
    let text = std::fs::read_to_string(parity(case).join("job.toml")).unwrap();
    let mut job = parse_toml(&text).unwrap();
    let init = std::fs::read(parity(case).join("init.safetensors")).unwrap();
    job.model.init = Some(cluster.client().upload(init).await.unwrap().into());
    let data = format!("{case}.safetensors");
    std::fs::copy(parity(case).join("data.safetensors"), cluster.data().join(&data)).unwrap();
    job.data.parameters.insert("train".to_owned(), data.into());
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parity_case_ends_at_the_expected_weights_for_any_shards_and_workers() {
    let mut cluster = Cluster::new().await;
    let together = Arc::new(Together::default());
    for name in ["w1", "w2", "w3"] {
        let backend = Scripted::new(cluster.backend(Registry::builtin()), together.clone());
        cluster.add(name, backend).await;
    }
    for case in MLP_CASES {
        let job = prepared(&cluster, case).await;
        for shards in SHARDS {
            for workers in WORKERS {
                let mut job = job.clone();
                job.train.shards = Some(shards);
                on_workers(&mut job, workers);
                together.begin();
                let id = cluster.client().submit(&job).await;
                let mut watcher = cluster.client().watch(&id).await;
                let others = |seen: &History| {
                    seen.notices.iter().filter(|notice| notice.message.contains("takes part")).count() as u32
                };
                watcher.until("all workers", |seen| others(seen) == workers - 1).await;
                together.open();
                let what = format!("{case} with {shards} shards on {workers} workers");
                let history = watcher.to_the_end().await;
                // Which workers get the few shards may differ from gradient to gradient.
                let took_part = history.most_workers();
                assert!(
                    (workers.min(shards)..=workers).contains(&took_part),
                    "{what}: {took_part} took part"
                );
                let (got, announced) = cluster.client().weights(&id).await;
                assert_eq!(
                    announced,
                    history.digest(),
                    "{what}: the weights are not those that were announced"
                );
                let error = relative_error(&got, &tensors(case, "expected"), &tensors(case, "init"));
                assert!(error <= TOLERANCE, "{what}: off by {error:.1e} of the distance moved");
            }
        }
    }
}

/// Holds a job's first gradient until the test opens, so that no worker misses a short run.
#[derive(Default)]
struct Together {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Together {
    /// Holds the next job.
    fn begin(&self) {
        *self.open.lock().unwrap() = false;
    }

    /// Lets the first gradient proceed.
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Script for Together {
    fn before(&self, _request: &Request, _shard: u32) {
        let open = self.open.lock().unwrap();
        let waited = self.changed.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap();
        assert!(!waited.1.timed_out(), "the job does not go on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_resnet_case_ends_at_the_expected_weights_and_running_statistics_for_any_workers() {
    let cluster = Cluster::of(3).await;
    for case in RESNET_CASES {
        for workers in WORKERS {
            let mut job = prepared(&cluster, case).await;
            on_workers(&mut job, workers);
            let what = format!("{case} on {workers} workers");
            let id = cluster.client().submit(&job).await;
            cluster.client().finish(&id).await.check_whole();
            let (got, _) = cluster.client().weights(&id).await;
            let (expected, init) = (tensors(case, "expected"), tensors(case, "init"));
            for statistics in [false, true] {
                let error = relative_error(&got, &kind(&expected, statistics), &kind(&init, statistics));
                let tensors = if statistics { "running statistics" } else { "parameters" };
                assert!(error <= TOLERANCE, "{what}: {tensors} off by {error:.1e} of the distance moved");
            }
        }
    }
}

/// The tensors of one of a case's files.
fn tensors(case: &str, file: &str) -> Tensors {
    read_tensors(&parity(case).join(format!("{file}.safetensors")))
}

/// The running statistics, or the parameters.
fn kind(tensors: &Tensors, statistics: bool) -> Tensors {
    let kept = tensors.iter().filter(|(name, _)| name.contains(".running_") == statistics);
    kept.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
}
