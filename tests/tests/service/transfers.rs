//! Incorrect bulk transfers from workers and users: refused as a whole, and nothing changes.

mod partials;
mod turns;
mod weights;

use bytes::Bytes;
use lookbehind_proto::transfer::{CHUNK_BYTES, Piece, Sender};
use lookbehind_proto::v1;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use lookbehind_tests::toy;
use tonic::Code;

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

/// A body in three chunks, with its trailer.
fn pieces(body: &[u8], covered: &[u8]) -> Vec<Piece> {
    let third = body.len() / 3;
    let chunks = body.chunks(third).enumerate().map(|(number, data)| chunk(third * number, data));
    chunks.chain([trailer(body, covered)]).collect()
}

fn trailer(body: &[u8], covered: &[u8]) -> Piece {
    Sender::new([Bytes::copy_from_slice(body)], covered).last().unwrap()
}

/// Every way in which the pieces of a transfer of `body` can be wrong, with the words that the error must contain. The
/// length of `body` is a multiple of 3.
fn damaged(body: &[u8], covered: &[u8]) -> Vec<(&'static str, Vec<Piece>, Code, String)> {
    const INVALID: Code = Code::InvalidArgument;
    let (third, whole) = (body.len() / 3, body.len());
    let [first, second, third_piece, end] = pieces(body, covered).try_into().unwrap();
    let of = |pieces: &[&Piece]| pieces.iter().map(|piece| (*piece).clone()).collect::<Vec<_>>();
    let mut flipped = body.to_vec();
    flipped[third + 8] ^= 1;
    let (bit_flipped, other_end) = (chunk(third, &flipped[third..2 * third]), trailer(&flipped, covered));
    let short_end = Piece::Trailer(v1::Trailer { checksum: Bytes::from_static(b"short") });
    let at = |byte: usize| format!("byte {byte}");
    let all = |end: &Piece| of(&[&first, &second, &third_piece, end]);
    let more = chunk(whole, b"more");
    vec![
        ("first missing", of(&[&second, &third_piece, &end]), INVALID, at(third)),
        ("one missing", of(&[&first, &third_piece, &end]), INVALID, at(2 * third)),
        ("last missing", of(&[&first, &second, &end]), INVALID, format!("{} of {whole} bytes", 2 * third)),
        ("one twice", of(&[&first, &first, &second, &third_piece, &end]), INVALID, at(0)),
        ("out of order", of(&[&second, &first, &third_piece, &end]), INVALID, at(third)),
        ("too long", of(&[&first, &second, &third_piece, &more, &end]), INVALID, at(whole + 4)),
        ("far offset", of(&[&first, &chunk(usize::MAX, b"x"), &end]), INVALID, at(usize::MAX)),
        ("empty chunk", of(&[&first, &chunk(third, b""), &end]), INVALID, "chunk of 0 bytes".into()),
        ("giant chunk", vec![chunk(0, &[0; CHUNK_BYTES + 1])], INVALID, "chunk of 1048577 bytes".into()),
        ("no end", of(&[&first, &second, &third_piece]), INVALID, "trailer".into()),
        ("nothing", Vec::new(), INVALID, "trailer".into()),
        ("a bit flipped", of(&[&first, &bit_flipped, &third_piece, &end]), Code::DataLoss, "checksum".into()),
        ("another's checksum", all(&other_end), Code::DataLoss, "checksum".into()),
        ("short checksum", all(&short_end), Code::DataLoss, "checksum".into()),
    ]
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
        v1::FencingToken { secret: vec![0; 16].into(), ..fencing_token.clone() },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_under_another_fencing_token_on_a_control_stream_changes_nothing() {
    let (cluster, id, mut worker, request) = at_request().await;
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
    let lost = v1::TransferFailed {
        job_id: id.clone(),
        request: request.request.clone(),
        segments: request.segments.clone(),
        reason: "lies".into(),
    };
    for fencing_token in stale(&worker.fencing_token) {
        use v1::session_request::Message;
        worker.say_as(&fencing_token, Message::TransferFailed(lost.clone())).await;
        worker.say_as(&fencing_token, Message::RequestFailed(failed.clone())).await;
        worker.say_as(&fencing_token, Message::PrepareFailed(unprepared.clone())).await;
        worker.say_as(&fencing_token, Message::Draining(v1::Draining {})).await;
    }
    // A stream is processed in order: once this message has an effect, all earlier ones have had none. The only worker
    // of a job is asked again for what it could not compute.
    worker.say(v1::session_request::Message::RequestFailed(failed)).await;
    let request = worker.assigned().await;
    let workers = cluster.client().workers().await;
    assert_eq!((workers.len(), workers[0].job_id.as_str()), (1, id.as_str()));
    let after = cluster.client().job(&id).await;
    assert_eq!((after.revision, after.state()), (before.revision, before.state()), "{}", after.message);
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}
