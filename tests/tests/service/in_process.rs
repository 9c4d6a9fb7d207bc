//! Tensors that are handed over within a process: the same effect and the same checks as over the network.

use lookbehind_common::arena::Arena;
use lookbehind_common::proto::v1;
use lookbehind_common::proto::v1::tensor_service_server::SERVICE_NAME;
use lookbehind_common::transfer::Piece;
use lookbehind_common::transfer::body;
use lookbehind_common::transfer::frames::Frames;
use lookbehind_common::transfer::in_process::{Handed, InProcess};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use lookbehind_tests::toy;
use lookbehind_worker::registry::Registry;
use tonic::{Code, Status};

/// The numbers of a partial that a good worker would send in pieces.
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

fn arenas(gradient: &[f32]) -> Handed {
    Handed::new([Arena::from(gradient.to_vec()), Arena::default()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_in_the_process_and_beyond_the_network_come_to_the_same_weights() {
    for in_process in [1, 2] {
        let mut cluster = Cluster::of(2 - in_process).await;
        for number in 0..in_process {
            let backend = cluster.backend(Registry::builtin());
            cluster.add_in_process(&format!("p{number}"), backend).await;
        }
        cluster.still_works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_that_is_handed_over_is_checked_as_one_that_is_sent() {
    let cluster = Cluster::new().await;
    let mut worker = FakeWorker::register(cluster.client(), hello("fake")).await.unwrap();
    let id = cluster.client().submit(&toy::toy()).await;
    let work = worker.start_toy().await;
    let (header, pieces) = worker.partial(&work, work.nodes[0]);
    let (tensors, gradient) = (cluster.tensors(), gradient(&pieces));

    let short = hand_over(&tensors, &header, arenas(&gradient[1..])).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument, "{short}");
    assert!(short.message().contains("[8, 0] numbers"), "{short}");
    let mut stranger = header.clone();
    stranger.fence.as_mut().unwrap().session += 1;
    assert_eq!(hand_over(&tensors, &stranger, arenas(&gradient)).await.unwrap(), v1::UploadOutcome::Stale);
    let twice = arenas(&gradient);
    assert_eq!(hand_over(&tensors, &header, twice.clone()).await.unwrap(), v1::UploadOutcome::Accepted);
    let next = worker.assigned().await;
    let (header, _) = worker.partial(&next, next.nodes[0]);
    let taken = hand_over(&tensors, &header, twice).await.unwrap_err();
    assert!(taken.message().contains("taken before"), "{taken}");
    worker.finish_toy(next).await;
    assert_eq!(cluster.client().finish(&id).await.state(), v1::JobState::Succeeded);
}
