//! Large downloads of one version of the weights take turns.

use std::time::Duration;

use bytes::Bytes;
use lookbehind_proto::v1;
use lookbehind_proto::v1::download_weights_response::Part;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, hello, whole};
use lookbehind_tests::toy;
use tonic::Streaming;

/// Bytes of the weights: more than a connection holds on its way to somebody who does not read.
const BYTES: usize = 16 << 20;

/// A job with large weights, and two workers that may download them.
struct Served {
    _cluster: Cluster,
    id: String,
    version: u64,
    workers: [FakeWorker; 2],
}

impl Served {
    async fn with(detection: Duration) -> Self {
        let cluster = Cluster::with_config(|config| config.failure_detection = detection).await;
        // Each on a connection of its own: on a common one, the one that does not read would hold up the other.
        let register = async |name: &str| {
            FakeWorker::register(&Client::new(cluster.url()), hello(name)).await.expect("a worker")
        };
        let mut first = register("first").await;
        let id = cluster.client().submit(&toy::toy()).await;
        first.prepare().await;
        let elements = (BYTES / size_of::<f32>()) as u64;
        let tensors = vec![toy::tensor("large.weight", &[elements])];
        first.described(&id, v1::JobDescription { tensors, ..toy::description() }).await;
        first.asked_for_state().await;
        let state = Some(v1::StateHeader { parameters: elements, statistics: 0 });
        let header = v1::InitialStateHeader { state, ..first.state_header(&id) };
        first.upload_state(header, whole(vec![0; BYTES], &[])).await.expect("the weights are taken");
        let version = first.assigned().await.weights_version;
        let mut second = register("second").await;
        second.prepare().await;
        Self { _cluster: cluster, id, version, workers: [first, second] }
    }

    /// Begins the download of a worker, and reads the header.
    async fn begin(&self, worker: usize) -> Streaming<v1::DownloadWeightsResponse> {
        let mut download = self.workers[worker].weights(&self.id, self.version).await;
        match next(&mut download).await {
            Some(Part::Header(_)) => download,
            other => panic!("expected the header, found {other:?}"),
        }
    }
}

async fn next(download: &mut Streaming<v1::DownloadWeightsResponse>) -> Option<Part> {
    let message = within("a part of the weights", download.message()).await.expect("a download goes on");
    message.map(|message| message.part.expect("a part"))
}

/// The data of the next chunk.
async fn data(download: &mut Streaming<v1::DownloadWeightsResponse>) -> Bytes {
    match next(download).await {
        Some(Part::Chunk(chunk)) => chunk.data,
        other => panic!("expected a chunk, found {other:?}"),
    }
}

/// Reads to the end, which must come after all bytes.
async fn read_to_the_end(mut download: Streaming<v1::DownloadWeightsResponse>, mut read: usize) {
    while read < BYTES {
        read += data(&mut download).await.len();
    }
    assert!(matches!(next(&mut download).await, Some(Part::Trailer(_))));
    assert_eq!(next(&mut download).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_of_a_second_download_come_after_the_end_of_the_first() {
    // Signs of life come after a quarter of this, and the turn ends after four times as long.
    let served = Served::with(Duration::from_secs(8)).await;
    let mut first = served.begin(0).await;
    let begun = data(&mut first).await.len();
    assert!(begun > 0);
    let mut second = served.begin(1).await;
    assert!(data(&mut second).await.is_empty(), "data came although the first download has not ended");
    read_to_the_end(first, begun).await;
    read_to_the_end(second, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_is_not_read_does_not_hold_up_the_next_one_for_ever() {
    // So patient that only what earlier downloads took can end the turn.
    let served = Served::with(Duration::from_secs(600)).await;
    read_to_the_end(served.begin(0).await, 0).await;
    let _stalled = served.begin(0).await;
    read_to_the_end(served.begin(1).await, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_whose_worker_goes_away_passes_its_turn_on() {
    let served = Served::with(Duration::from_secs(600)).await;
    let mut first = served.begin(0).await;
    assert!(!data(&mut first).await.is_empty());
    drop(first);
    read_to_the_end(served.begin(1).await, 0).await;
}
