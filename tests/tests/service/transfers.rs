//! Incorrect bulk transfers from workers and users: refused as a whole, and nothing changes.

use bytes::Bytes;
use lookbehind_proto::transfer::{CHUNK_BYTES, Piece, Sender, sums_bytes};
use lookbehind_proto::v1;
use lookbehind_tests::client::Client;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, header_sums, hello, whole};
use lookbehind_tests::toy;
use tonic::Code;
use v1::upload_initial_weights_request::Part as FilePart;
use v1::upload_partial_request::Part as PartialPart;

/// Digest of the toy job's final weights if nothing goes wrong.
async fn toy_digest() -> String {
    let cluster = Cluster::new().await;
    let mut worker = FakeWorker::register(cluster.client(), hello("honest")).await.unwrap();
    let id = cluster.client().submit(&toy::toy()).await;
    let request = worker.start_toy().await;
    worker.finish_toy(request).await;
    cluster.client().finish(&id).await.digest().to_owned()
}

/// A cluster in which a worker has the toy job's first assignment.
async fn at_request() -> (Cluster, String, FakeWorker, v1::Assign) {
    let cluster = Cluster::new().await;
    let mut worker = FakeWorker::register(cluster.client(), hello("fake")).await.unwrap();
    let id = cluster.client().submit(&toy::toy()).await;
    let request = worker.start_toy().await;
    (cluster, id, worker, request)
}

/// Finishes the job as if nothing had happened, and completes a good job afterwards.
async fn ends_like_an_undisturbed_run(
    mut cluster: Cluster,
    id: &str,
    mut worker: FakeWorker,
    request: v1::Assign,
) {
    worker.finish_toy(request).await;
    let history = cluster.client().finish(id).await;
    history.check_whole();
    assert_eq!(history.digest(), toy_digest().await);
    drop(worker);
    let backend = cluster.backend(lookbehind_worker::registry::Registry::builtin());
    cluster.add("good", backend).await;
    cluster.still_works().await;
}

fn chunk(offset: usize, data: &[u8]) -> Piece {
    Piece::Chunk(v1::Chunk { offset: offset as u64, data: Bytes::copy_from_slice(data) })
}

/// A body in chunks of 12 bytes, with its trailer.
fn pieces(body: &[u8], covered: &[u8]) -> Vec<Piece> {
    let chunks = body.chunks(12).enumerate().map(|(number, data)| chunk(12 * number, data));
    chunks.chain([trailer(body, covered)]).collect()
}

fn trailer(body: &[u8], covered: &[u8]) -> Piece {
    Sender::new([Bytes::copy_from_slice(body)], covered).last().unwrap()
}

/// Every way in which the pieces of a transfer of `body` (36 bytes) can be wrong, with the words that the error must
/// contain.
fn damaged(body: &[u8], covered: &[u8]) -> Vec<(&'static str, Vec<Piece>, Code, &'static str)> {
    const INVALID: Code = Code::InvalidArgument;
    let [first, second, third, end] = pieces(body, covered).try_into().unwrap();
    let of = |pieces: &[&Piece]| pieces.iter().map(|piece| (*piece).clone()).collect::<Vec<_>>();
    let mut flipped = body.to_vec();
    flipped[20] ^= 1;
    let (bit_flipped, other_end) = (chunk(12, &flipped[12..24]), trailer(&flipped, covered));
    let short_end = Piece::Trailer(v1::Trailer { checksum: Bytes::from_static(b"short") });
    vec![
        ("first missing", of(&[&second, &third, &end]), INVALID, "byte 12"),
        ("one missing", of(&[&first, &third, &end]), INVALID, "byte 24"),
        ("last missing", of(&[&first, &second, &end]), INVALID, "24 of 36 bytes"),
        ("one twice", of(&[&first, &first, &second, &third, &end]), INVALID, "byte 0"),
        ("out of order", of(&[&second, &first, &third, &end]), INVALID, "byte 12"),
        ("too long", of(&[&first, &second, &third, &chunk(36, b"more"), &end]), INVALID, "byte 40"),
        ("far offset", of(&[&first, &chunk(usize::MAX, b"x"), &end]), INVALID, "byte 18446744073709551615"),
        ("empty chunk", of(&[&first, &chunk(12, b""), &end]), INVALID, "chunk of 0 bytes"),
        ("giant chunk", vec![chunk(0, &[0; CHUNK_BYTES + 1])], INVALID, "chunk of 1048577 bytes"),
        ("no end", of(&[&first, &second, &third]), INVALID, "trailer"),
        ("nothing", Vec::new(), INVALID, "trailer"),
        ("a bit flipped", of(&[&first, &bit_flipped, &third, &end]), Code::DataLoss, "checksum"),
        ("another's checksum", of(&[&first, &second, &third, &other_end]), Code::DataLoss, "checksum"),
        ("short checksum", of(&[&first, &second, &third, &short_end]), Code::DataLoss, "checksum"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_partial_is_refused_whole_and_changes_nothing() {
    let (cluster, id, worker, request) = at_request().await;
    let segment = request.segments[0];
    let (header, good) = worker.partial(&request, segment);
    let body: Vec<u8> = good.iter().filter_map(bytes_of).flatten().collect();
    for (what, pieces, code, said) in damaged(&body, &sums_bytes(&header_sums(&header))) {
        let status = worker.upload_partial(header.clone(), pieces).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(said), "{what}: {status}, expected {said:?}");
    }
    let giant = vec![chunk(0, &vec![0; 2 * CHUNK_BYTES])];
    let status = worker.upload_partial(header.clone(), giant).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "a message far beyond a chunk was read: {status}");
    let headless = PartialPart::Chunk(v1::Chunk { offset: 0, data: body.into() });
    let status = worker.upload_partial_parts(vec![headless]).await.unwrap_err();
    assert!(status.message().contains("header first"), "{status}");
    let twice = vec![PartialPart::Header(header.clone()), PartialPart::Header(header)];
    let status = worker.upload_partial_parts(twice).await.unwrap_err();
    assert!(status.message().contains("chunk or the trailer"), "{status}");
    assert_eq!(worker.upload_partial_parts(Vec::new()).await.unwrap_err().code(), Code::InvalidArgument);
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}

fn bytes_of(piece: &Piece) -> Option<Vec<u8>> {
    match piece {
        Piece::Chunk(chunk) => Some(chunk.data.to_vec()),
        Piece::Trailer(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_that_are_not_those_under_the_checksum_are_refused() {
    let (cluster, id, worker, request) = at_request().await;
    let (header, pieces) = worker.partial(&request, request.segments[0]);
    for changed in [
        v1::PartialHeader { loss_sum: header.loss_sum + 1.0, ..header.clone() },
        v1::PartialHeader { correct: header.correct + 1, ..header.clone() },
    ] {
        let status = worker.upload_partial(changed, pieces.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss, "{status}");
    }
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_of_other_sizes_than_the_jobs_is_refused_before_memory_is_taken_for_it() {
    let (cluster, id, worker, request) = at_request().await;
    let (header, pieces) = worker.partial(&request, request.segments[0]);
    let sizes = [
        (8, 0, 8),
        (10, 0, 8),
        (9, 1, 8),
        (0, 0, 8),
        (9, 0, 7),
        (9, 0, u64::MAX),
        (1 << 60, 0, 8),
        (1 << 62, 1 << 62, 8),
        (u64::MAX, u64::MAX, 8),
    ];
    for (gradient, statistics, samples) in sizes {
        let changed = v1::PartialHeader { gradient, statistics, samples, ..header.clone() };
        let status = worker.upload_partial(changed, pieces.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let found = format!("({gradient}, {statistics}, {samples})");
        for word in ["shards 0..4", "(9, 0, 8)", &found] {
            assert!(status.message().contains(word), "{status}, expected {word:?}");
        }
    }
    for compute_seconds in [-1.0, f64::NAN, f64::INFINITY] {
        let data_seconds = compute_seconds;
        for changed in [
            v1::PartialHeader { compute_seconds, ..header.clone() },
            v1::PartialHeader { data_seconds, ..header.clone() },
        ] {
            let status = worker.upload_partial(changed, pieces.clone()).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
    }
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}

/// Every fencing token that is not the worker's own.
fn stale(fencing_token: &v1::FencingToken) -> Vec<v1::FencingToken> {
    vec![
        v1::FencingToken { cluster_id: "0000000000000000".into(), ..fencing_token.clone() },
        v1::FencingToken { cluster_id: String::new(), ..fencing_token.clone() },
        v1::FencingToken { incarnation: fencing_token.incarnation + 1, ..fencing_token.clone() },
        v1::FencingToken { incarnation: fencing_token.incarnation - 1, ..fencing_token.clone() },
        v1::FencingToken { session: fencing_token.session + 1, ..fencing_token.clone() },
        v1::FencingToken { session: 0, ..fencing_token.clone() },
    ]
}

/// Headers for every request and segment other than the assigned one.
fn elsewhere(header: &v1::PartialHeader) -> Vec<v1::PartialHeader> {
    let request = |change: fn(&mut v1::RequestId)| {
        let mut header = header.clone();
        change(header.request.as_mut().unwrap());
        header
    };
    let segment = |first_shard, end_shard| v1::PartialHeader {
        segment: Some(v1::Segment { first_shard, end_shard }),
        ..header.clone()
    };
    vec![
        request(|request| request.job_id = "j00000000".into()),
        request(|request| request.outer_step += 1),
        request(|request| request.index += 1),
        segment(0, 2),
        segment(0, 3),
        segment(1, 3),
        segment(0, 5),
        segment(4, 8),
        segment(0, u32::MAX),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_of_another_cluster_incarnation_session_or_request_changes_nothing() {
    let (cluster, id, worker, request) = at_request().await;
    let (header, pieces) = worker.partial(&request, request.segments[0]);
    for fencing_token in stale(&worker.fencing_token) {
        let stale = v1::PartialHeader { fencing_token: Some(fencing_token), ..header.clone() };
        let outcome = worker.upload_partial(stale, pieces.clone()).await.unwrap();
        assert_eq!(outcome, v1::UploadOutcome::Stale);
    }
    for other in elsewhere(&header) {
        let outcome = worker.upload_partial(other.clone(), pieces.clone()).await.unwrap();
        assert_eq!(outcome, v1::UploadOutcome::Stale, "{other:?}");
    }
    for (field, lacking) in [
        ("fencing_token", v1::PartialHeader { fencing_token: None, ..header.clone() }),
        ("request", v1::PartialHeader { request: None, ..header.clone() }),
        ("segment", v1::PartialHeader { segment: None, ..header.clone() }),
        (
            "segment",
            v1::PartialHeader {
                segment: Some(v1::Segment { first_shard: 2, end_shard: 2 }),
                ..header.clone()
            },
        ),
        (
            "segment",
            v1::PartialHeader {
                segment: Some(v1::Segment { first_shard: 3, end_shard: 1 }),
                ..header.clone()
            },
        ),
    ] {
        let status = worker.upload_partial(lacking, pieces.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(field), "{status}");
    }
    assert_eq!(cluster.client().job(&id).await.outer_step, 0, "a stale partial was taken");
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_that_was_accepted_is_not_taken_again() {
    let (cluster, id, mut worker, request) = at_request().await;
    let (header, pieces) = worker.partial(&request, request.segments[0]);
    let accepted = worker.upload_partial(header.clone(), pieces.clone()).await.unwrap();
    assert_eq!(accepted, v1::UploadOutcome::Accepted);
    let again = worker.upload_partial(header, pieces).await.unwrap();
    assert_eq!(again, v1::UploadOutcome::Stale);
    let next = worker.assigned().await;
    ends_like_an_undisturbed_run(cluster, &id, worker, next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_under_another_fencing_token_on_a_control_stream_changes_nothing() {
    let (cluster, id, worker, request) = at_request().await;
    let before = cluster.client().job(&id).await;
    let failed = v1::RequestFailed {
        request: request.request.clone(),
        segment: Some(request.segments[0]),
        reason: "lies".into(),
    };
    let unprepared = v1::PrepareFailed {
        job_id: id.clone(),
        failure: v1::PrepareFailure::Job.into(),
        reason: "lies".into(),
    };
    for fencing_token in stale(&worker.fencing_token) {
        use v1::session_request::Message;
        worker.say_as(&fencing_token, Message::RequestFailed(failed.clone())).await;
        worker.say_as(&fencing_token, Message::PrepareFailed(unprepared.clone())).await;
        worker.say_as(&fencing_token, Message::Draining(v1::Draining {})).await;
    }
    // A stream is processed in order: once this message has an effect, all earlier ones have had none.
    worker.prepared(&id).await;
    cluster.client().watch(&id).await.until_said(&["fake", "takes part"]).await;
    let workers = cluster.client().workers().await;
    assert_eq!((workers.len(), workers[0].job_id.as_str()), (1, id.as_str()));
    let after = cluster.client().job(&id).await;
    assert_eq!((after.revision, after.state()), (before.revision + 1, before.state()), "{}", after.message);
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}

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
        assert!(status.message().contains(said), "{what}: {status}, expected {said:?}");
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

/// Files that the coordinator keeps of uploads, temporary ones included.
fn uploads(cluster: &Cluster) -> usize {
    std::fs::read_dir(cluster.state().join("uploads")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_upload_of_weights_is_refused_and_leaves_nothing_behind() {
    let cluster = Cluster::of(1).await;
    let client: &Client = cluster.client();
    let body = [7; 36];
    for (what, pieces, code, said) in damaged(&body, &[]) {
        let status = client.upload_parts(file_parts(36, pieces)).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(said), "{what}: {status}, expected {said:?}");
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
    assert!(status.message().contains("36 of 8589934592 bytes"), "{status}");
    assert_eq!(uploads(&cluster), 0, "something of a refused upload was kept");
    client.upload_parts(file_parts(36, pieces(&body, &[]))).await.unwrap();
    assert_eq!(uploads(&cluster), 1);
    cluster.still_works().await;
}
