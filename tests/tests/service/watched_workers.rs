//! Monitoring of a worker: its counters match what it did, and it is ready while it has a coordinator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::http::{Answer, get, series};
use lookbehind_tests::jobs::{SMALL_ROWS, small};
use lookbehind_worker::WorkerConfig;
use lookbehind_worker::registry::Registry;
use lookbehind_worker::telemetry::{Server, WorkerMetrics};
use tokio_util::sync::CancellationToken;

/// Gradients of each batch with k = 2, times the number of epochs.
const PASSES: f64 = 3.0 * 2.0;
/// Batches in an epoch: eight of 24 samples and one of 5.
const BATCHES: f64 = 9.0;
/// Shards in an epoch: the last batch has fewer samples than the job has shards.
const SHARDS: f64 = 8.0 * 8.0 + 5.0;
/// Bytes of the small job's parameters.
const MODEL_BYTES: f64 = 4.0 * (64.0 * 16.0 + 16.0 + 16.0 * 10.0 + 10.0);

/// A worker of its own outside the cluster, and the address of its metrics.
struct Watched {
    address: SocketAddr,
    end: CancellationToken,
}

impl Watched {
    async fn start(cluster: &Cluster, in_process: bool) -> Self {
        let (metrics, end) = (WorkerMetrics::default(), CancellationToken::new());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), None, false).await.unwrap();
        let address = server.address();
        tokio::spawn(server.serve(metrics.clone(), end.clone()));
        let config = WorkerConfig {
            metrics,
            in_process: in_process.then(|| cluster.tensors()),
            ..WorkerConfig::new(cluster.url().to_owned(), "watched".into(), cluster.data().to_owned())
        };
        let backend = cluster.backend(Registry::builtin());
        tokio::spawn(lookbehind_worker::run_backend(config, Arc::clone(&backend) as _, end.clone()));
        Self { address, end }
    }

    async fn metrics(&self) -> String {
        let Answer { status, text } = get(self.address, "/metrics").await;
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Waits until `/readyz` answers with a status, and returns the text.
    async fn readiness(&self, status: u16) -> String {
        within("a worker's readiness", async {
            loop {
                let answer = get(self.address, "/readyz").await;
                if answer.status == status {
                    return answer.text;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// Waits until this number of bytes has been sent: a job may end before its worker has read the answer to its last
    /// upload.
    async fn sent(&self, bytes: f64) {
        within("the last upload", async {
            let name = "lookbehind_worker_transfer_bytes_total{direction=\"sent\"}";
            while series(&self.metrics().await, name) != bytes {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_counts_what_it_did_and_is_ready_until_its_coordinator_goes() {
    let cluster = Cluster::new().await;
    let worker = Watched::start(&cluster, false).await;
    worker.readiness(200).await;
    cluster.client().run(&small()).await;

    let metrics = worker.metrics().await;
    let value = |name: &str| series(&metrics, &format!("lookbehind_worker_{name}"));
    assert_eq!(value("connected"), 1.0);
    assert_eq!(value("sessions_total"), 1.0);
    assert_eq!(value("shards_computed_total{kind=\"gradient\"}"), PASSES * SHARDS);
    assert_eq!(value("shards_computed_total{kind=\"test\"}"), 0.0);
    assert_eq!(value("compute_shard_seconds_count"), PASSES * SHARDS);
    assert_eq!(value("samples_total"), PASSES * SMALL_ROWS as f64);
    // One version of the weights and one partial for each gradient, and the initial weights.
    assert_eq!(value("transfer_bytes_total{direction=\"received\"}"), PASSES * BATCHES * MODEL_BYTES);
    worker.sent((PASSES * BATCHES + 1.0) * MODEL_BYTES).await;
    for what in ["prepare", "request", "upload"] {
        assert_eq!(value(&format!("failures_total{{what=\"{what}\"}}")), 0.0);
    }
    assert!(value("compute_seconds_total") > 0.0 && value("memory_limit_bytes") > 0.0);

    drop(cluster);
    assert_eq!(worker.readiness(503).await, "not registered with the coordinator\n");
    assert_eq!(get(worker.address, "/livez").await.status, 200);
    assert_eq!(series(&worker.metrics().await, "lookbehind_worker_connected"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tensors_that_are_handed_over_are_not_counted_as_sent() {
    let cluster = Cluster::new().await;
    let worker = Watched::start(&cluster, true).await;
    worker.readiness(200).await;
    cluster.client().run(&small()).await;
    let metrics = worker.metrics().await;
    assert_eq!(series(&metrics, "lookbehind_worker_samples_total"), PASSES * SMALL_ROWS as f64);
    for direction in ["received", "sent"] {
        for unit in ["bytes", "seconds"] {
            let name = format!("lookbehind_worker_transfer_{unit}_total{{direction=\"{direction}\"}}");
            assert_eq!(series(&metrics, &name), 0.0, "{name}");
        }
    }
}
