//! Partials that are damaged, of other sizes, stale or sent twice.

use lookbehind_common::partial::Sums;
use lookbehind_proto::transfer::{CHUNK_BYTES, Piece, sums_bytes};
use lookbehind_proto::v1;
use lookbehind_tests::fake_worker::{header_sums, whole};
use lookbehind_tests::toy;
use tonic::Code;
use v1::upload_partial_request::Part as PartialPart;

use super::{at_request, chunk, damaged, ends_like_an_undisturbed_run, stale};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_partial_is_refused_whole_and_changes_nothing() {
    let (cluster, id, worker, request) = at_request().await;
    let segment = request.segments[0];
    let (header, good) = worker.partial(&request, segment);
    let body: Vec<u8> = good.iter().filter_map(bytes_of).flatten().collect();
    for (what, pieces, code, said) in damaged(&body, &sums_bytes(&header_sums(&header))) {
        let status = worker.upload_partial(header.clone(), pieces).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(&said), "{what}: {status}, expected {said:?}");
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
async fn a_partial_with_more_correct_samples_than_samples_is_refused() {
    let (cluster, id, worker, request) = at_request().await;
    let segment = request.segments[0];
    let (header, _) = worker.partial(&request, segment);
    let (sums, gradient) = toy::partial(&request, segment);
    for correct in [sums.samples + 1, u64::MAX] {
        let sums = Sums { correct, ..sums };
        let changed = v1::PartialHeader { correct, ..header.clone() };
        let pieces = whole(gradient.clone(), &sums_bytes(&sums));
        let status = worker.upload_partial(changed, pieces).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let found = format!("at most {} correct samples, one for each, found {correct}", sums.samples);
        assert!(status.message().contains(&found), "{status}");
    }
    ends_like_an_undisturbed_run(cluster, &id, worker, request).await;
}
