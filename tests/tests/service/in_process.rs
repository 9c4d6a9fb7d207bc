//! Tensors that are handed over within a process: the same effect and the same checks as over the network.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_coordinator::{Config, Coordinator};
use lookbehind_proto::transfer::Piece;
use lookbehind_proto::transfer::body;
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::transfer::in_process::{Handed, InProcess};
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_server::SERVICE_NAME;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use lookbehind_tests::jobs::{on_workers, small};
use lookbehind_tests::toy;
use lookbehind_worker::registry::Registry;
use tempfile::TempDir;
use tonic::{Code, Status};

/// The values of a partial whose pieces a correct worker would send.
fn gradient(pieces: &[Piece]) -> Vec<f32> {
    let bytes = pieces.iter().flat_map(|piece| match piece {
        Piece::Chunk(chunk) => chunk.data.to_vec(),
        Piece::Trailer(_) => Vec::new(),
    });
    let bytes: Vec<u8> = bytes.collect();
    bytes.chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect()
}

/// Hands a partial over.
async fn hand_over(
    tensors: &InProcess,
    header: &v1::PartialHeader,
    handed: Handed,
) -> Result<v1::UploadOutcome, Status> {
    let frames = Frames::transfer(header, std::iter::empty());
    let mut request = body::call(SERVICE_NAME, "UploadPartial", body::request(frames)).unwrap();
    request.extensions_mut().insert(handed);
    let response = tensors.call(request).await;
    if let Some(status) =
        Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok)
    {
        return Err(status);
    }
    body::message::<v1::UploadPartialResponse>(response.into_body()).await.map(|answer| answer.outcome())
}

fn flat_buffers(gradient: &[f32]) -> Handed {
    Handed::new([FlatBuffer::from(gradient.to_vec()), FlatBuffer::default()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_in_the_process_and_beyond_the_network_come_to_the_same_weights() {
    for in_process in [1, 2] {
        let mut cluster = Cluster::of(2 - in_process).await;
        let called: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        for number in 0..in_process {
            let backend = cluster.backend(Registry::builtin());
            let tensors = noting(cluster.tensors(), Arc::clone(&called));
            cluster.add_in_process(&format!("p{number}"), backend, tensors).await;
        }
        let mut job = small();
        on_workers(&mut job, 2);
        let history = cluster.client().run(&job).await;
        assert_eq!(history.digest(), small_digest().await);
        // With two workers, one may miss a short run.
        if in_process == 2 {
            let called: Vec<String> = called.lock().unwrap().iter().cloned().collect();
            let methods = ["DownloadWeights", "UploadInitialState", "UploadPartial"];
            assert_eq!(called, methods.map(|method| format!("/{SERVICE_NAME}/{method}")));
        }
    }
}

/// The same service, which also records the methods that are called.
fn noting(tensors: InProcess, called: Arc<Mutex<BTreeSet<String>>>) -> InProcess {
    InProcess::new(move |request| {
        called.lock().unwrap().insert(request.uri().path().to_owned());
        let tensors = tensors.clone();
        async move { tensors.call(request).await }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tensors_of_a_coordinator_that_has_ended_are_unavailable_and_its_state_is_free() {
    let state = TempDir::with_prefix("lookbehind-state-").unwrap();
    let start = || Coordinator::start(Config::new(state.path().to_owned()));
    let coordinator = start().await.unwrap();
    let tensors = coordinator.tensors();
    coordinator.shutdown().await;
    let request = body::call(SERVICE_NAME, "DownloadWeights", tonic::body::Body::empty()).unwrap();
    let answer = tensors.call(request).await;
    assert_eq!(Status::from_header_map(answer.headers()).unwrap().code(), Code::Unavailable);
    start().await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_that_is_handed_over_is_checked_as_one_that_is_sent() {
    let cluster = Cluster::new().await;
    let mut worker = FakeWorker::register(cluster.client(), hello("fake")).await.unwrap();
    let id = cluster.client().submit(&toy::toy()).await;
    let request = worker.start_toy().await;
    let (header, pieces) = worker.partial(&request, request.segments[0]);
    let (tensors, gradient) = (cluster.tensors(), gradient(&pieces));

    let short = hand_over(&tensors, &header, flat_buffers(&gradient[1..])).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument, "{short}");
    assert!(short.message().contains("[8, 0] elements"), "{short}");
    let mut stranger = header.clone();
    stranger.fencing_token.as_mut().unwrap().session += 1;
    assert_eq!(
        hand_over(&tensors, &stranger, flat_buffers(&gradient)).await.unwrap(),
        v1::UploadOutcome::Stale
    );
    let twice = flat_buffers(&gradient);
    assert_eq!(hand_over(&tensors, &header, twice.clone()).await.unwrap(), v1::UploadOutcome::Accepted);
    let next = worker.assigned().await;
    let (header, _) = worker.partial(&next, next.segments[0]);
    let taken = hand_over(&tensors, &header, twice).await.unwrap_err();
    assert!(taken.message().contains("taken before"), "{taken}");
    worker.finish_toy(next).await;
    assert_eq!(cluster.client().finish(&id).await.state(), v1::JobState::Succeeded);
}
