//! Weights that workers download, and initial weights from workers and users.

use lookbehind_proto::transfer::Piece;
use lookbehind_proto::v1;
use lookbehind_tests::client::Client;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, hello, whole};
use lookbehind_tests::files::{FileTensor, safetensors};
use lookbehind_tests::toy;
use tonic::Code;
use v1::upload_initial_weights_request::Part as FilePart;

use super::{at_request, damaged, ends_like_an_undisturbed_run, pieces, stale};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_served_to_workers_of_the_job_and_in_their_current_version_only() {
    let (cluster, id, worker, request) = at_request().await;
    for fencing_token in stale(&worker.fencing_token) {
        let status = worker.download(&fencing_token, &id, request.weights_version).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    }
    let bystander = FakeWorker::register(cluster.client(), hello("bystander")).await.unwrap();
    worker.download(&worker.fencing_token, &id, request.weights_version).await.unwrap();
    for version in [0, request.weights_version + 1, u64::MAX] {
        let status = worker.download(&worker.fencing_token, &id, version).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert!(status.message().contains(&version.to_string()), "{status}");
    }
    let status = worker.download(&worker.fencing_token, "../../x", 1).await.unwrap_err();
    assert_eq!((status.code(), status.message().contains("job_id")), (Code::InvalidArgument, true));
    let status = bystander.download(&bystander.fencing_token, "j00000000", 1).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    drop(bystander);
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_or_stale_initial_weights_from_a_worker_are_refused_and_it_may_send_them_again() {
    let cluster = Cluster::new().await;
    let mut worker = FakeWorker::register(cluster.client(), hello("fake")).await.unwrap();
    let id = cluster.client().submit(&toy::toy()).await;
    worker.prepare().await;
    worker.prepared(&id).await;
    worker.asked_for_state().await;
    let header = worker.state_header(&id);
    for (what, pieces, code, said) in damaged(&toy::initial(), &[]) {
        let status = worker.upload_state(header.clone(), pieces).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(&said), "{what}: {status}, expected {said:?}");
    }
    for (parameters, statistics) in [(8, 0), (9, 1), (1 << 60, 0), (1 << 62, 1 << 62), (u64::MAX, u64::MAX)] {
        let state = Some(v1::StateHeader { parameters, statistics });
        let changed = v1::InitialStateHeader { state, ..header.clone() };
        let status = worker.upload_state(changed, whole(toy::initial(), &[])).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(&format!("found {parameters} and {statistics}")), "{status}");
    }
    for fencing_token in stale(&worker.fencing_token) {
        let stale = v1::InitialStateHeader { fencing_token: Some(fencing_token), ..header.clone() };
        let status = worker.upload_state(stale, whole(toy::initial(), &[])).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    }
    let mut nan = toy::initial();
    nan[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    let status = worker.upload_state(header.clone(), whole(nan, &[])).await.unwrap_err();
    assert!(status.message().contains("number 1 is not finite"), "{status}");
    worker.upload_state(header, whole(toy::initial(), &[])).await.unwrap();
    let request = worker.assigned().await;
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}

fn file_parts(length: u64, pieces: Vec<Piece>) -> Vec<FilePart> {
    let pieces = pieces.into_iter().map(|piece| match piece {
        Piece::Chunk(chunk) => FilePart::Chunk(chunk),
        Piece::Trailer(trailer) => FilePart::Trailer(trailer),
    });
    std::iter::once(FilePart::Header(v1::FileHeader { length })).chain(pieces).collect()
}

/// A model file whose header is in the first third of it, and whose length is a multiple of 3.
fn weights() -> Vec<u8> {
    let values = |count| vec![0.5; count];
    let file = |count| safetensors(&[FileTensor::f32("weight", &[count], &values(count))]);
    let fits = |bytes: &Vec<u8>| bytes.len().is_multiple_of(3);
    (200..203).map(file).find(fits).expect("one of three lengths in a row")
}

/// Files that the coordinator keeps of uploads, temporary ones included.
fn uploads(cluster: &Cluster) -> usize {
    std::fs::read_dir(cluster.state().join("uploads")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_upload_of_weights_is_refused_and_leaves_nothing_behind() {
    let cluster = Cluster::of(1).await;
    let client: &Client = cluster.client();
    let body = weights();
    let sent = body.len() as u64;
    for (what, pieces, code, said) in damaged(&body, &[]) {
        let status = client.upload_parts(file_parts(sent, pieces)).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(&said), "{what}: {status}, expected {said:?}");
    }
    for length in [u64::MAX, 1 << 60, (8 << 30) + 1] {
        let status = client.upload_parts(file_parts(length, pieces(&body, &[]))).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(
            status.message().contains("length") && status.message().contains(&length.to_string()),
            "{status}"
        );
    }
    // The declared length is permitted, but less data arrives.
    let status = client.upload_parts(file_parts(8 << 30, pieces(&body, &[]))).await.unwrap_err();
    assert!(status.message().contains(&format!("expected {sent} bytes, found 8589934592")), "{status}");
    assert_eq!(uploads(&cluster), 0, "something of a refused upload was kept");
    client.upload_parts(file_parts(sent, pieces(&body, &[]))).await.unwrap();
    assert_eq!(uploads(&cluster), 1);
    cluster.still_works().await;
}
