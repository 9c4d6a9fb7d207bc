//! Files of initial weights: files that cannot be the weights of any model are refused when they are sent, with the
//! reason; those of another model fail the job, and the error names key and tensor.

use ::safetensors::Dtype;
use lookbehind_common::job::JobFile;
use lookbehind_proto::wire;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::files::{FileTensor, safetensors, with_header};
use lookbehind_tests::jobs::small_with;
use tonic::Code;

fn starting_from(digest: &str) -> JobFile {
    small_with(|job| job.model.init = Some(digest.to_owned().into()))
}

/// The tensors of the small job's model: 64 inputs, 16 hidden units, 10 classes.
fn tensors() -> Vec<FileTensor> {
    vec![
        FileTensor::f32("layers.0.weight", &[16, 64], &[0.01; 16 * 64]),
        FileTensor::f32("layers.0.bias", &[16], &[0.0; 16]),
        FileTensor::f32("layers.1.weight", &[10, 16], &[0.01; 160]),
        FileTensor::f32("layers.1.bias", &[10], &[0.0; 10]),
    ]
}

/// A file of the tensors with one of them changed.
fn changed(number: usize, change: impl FnOnce(&mut FileTensor)) -> Vec<u8> {
    let mut tensors = tensors();
    change(&mut tensors[number]);
    safetensors(&tensors)
}

/// Files of other models, with the words that the error must contain.
fn other_models() -> Vec<(Vec<u8>, Vec<&'static str>)> {
    let mut lacking = tensors();
    lacking.remove(1);
    let mut extra = tensors();
    extra.push(FileTensor::f32("layers.2.weight", &[1], &[0.0]));
    vec![
        (safetensors(&lacking), vec!["layers.0.bias", "missing"]),
        (safetensors(&extra), vec!["layers.2.weight"]),
        (changed(2, |tensor| tensor.shape = vec![16, 10]), vec!["layers.1.weight", "[10, 16]", "[16, 10]"]),
        (changed(2, |tensor| tensor.shape = vec![160]), vec!["layers.1.weight", "[160]"]),
    ]
}

/// Files that are of no model, with the words that the refusal must contain.
fn no_models() -> Vec<(Vec<u8>, Vec<&'static str>)> {
    let one = |shape: &str, offsets: &str| {
        format!("{{\"layers.0.bias\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    let mut huge = (1_u64 << 60).to_le_bytes().to_vec();
    huge.extend_from_slice(b"{}");
    let infinite = f32::INFINITY.to_le_bytes();
    let noise: Vec<u8> = (0..3 << 20_u32).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut cut = safetensors(&tensors());
    cut.truncate(cut.len() - 4);
    vec![
        (
            changed(3, |tensor| tensor.bytes[8..12].copy_from_slice(&f32::NAN.to_le_bytes())),
            vec!["layers.1.bias", "number 2", "not finite"],
        ),
        (
            changed(0, |tensor| tensor.bytes[..4].copy_from_slice(&infinite)),
            vec!["layers.0.weight", "not finite"],
        ),
        (changed(1, |tensor| tensor.dtype = Dtype::I32), vec!["layers.0.bias", "F32", "I32"]),
        (Vec::new(), vec!["expected 8 bytes, found 0"]),
        (Vec::from(*b"no weights at all"), vec!["header of at most 4194304 bytes"]),
        (noise, vec!["header of at most 4194304 bytes"]),
        (huge, vec!["header of at most 4194304 bytes"]),
        (cut, vec!["bytes, found"]),
        (with_header("{}", 0), vec!["no tensors"]),
        (with_header(&one("[16]", "[0,1024]"), 64), vec!["safetensors"]),
        (with_header(&one("[9223372036854775807,9223372036854775807]", "[0,64]"), 64), vec!["safetensors"]),
        (with_header(&one("[16]", "[64,0]"), 64), vec!["safetensors"]),
        (with_header(&one("[16]", "[0,64]"), 68), vec!["bytes, found"]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_of_no_model_is_refused_with_the_reason_and_nothing_is_stored() {
    let cluster = Cluster::of(1).await;
    for (number, (bytes, words)) in no_models().into_iter().enumerate() {
        let status = cluster.client().upload(bytes).await.expect_err("no model");
        assert_eq!(status.code(), Code::InvalidArgument, "file {number}: {status}");
        for word in words {
            assert!(status.message().contains(word), "file {number}: expected {word:?} in {status}");
        }
        assert!(
            status.message().len() < 1000,
            "file {number}: a message of {} bytes",
            status.message().len()
        );
        let stored = std::fs::read_dir(cluster.state().join("uploads")).map_or(0, Iterator::count);
        assert_eq!(stored, 0, "file {number}");
    }
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_of_another_model_fail_the_job_by_key_and_tensor() {
    let cluster = Cluster::of(1).await;
    for (number, (bytes, words)) in other_models().into_iter().enumerate() {
        let digest = cluster.client().upload(bytes).await.unwrap();
        let message = cluster.client().run_to_failure(&starting_from(&digest)).await;
        for word in words.iter().chain(&["model.init"]) {
            assert!(message.contains(word), "file {number}: expected {word:?} in {message:?}");
        }
        assert!(message.len() < 1000, "file {number}: a message of {} bytes", message.len());
    }
    let good = cluster.client().upload(safetensors(&tensors())).await.unwrap();
    cluster.client().run(&starting_from(&good)).await;
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_weights_that_were_not_uploaded_is_refused_by_key_and_digest() {
    let cluster = Cluster::of(1).await;
    let digest = "0123456789abcdef".repeat(4);
    let refused = cluster.client().create(wire::to_proto(&starting_from(&digest))).await;
    let status = refused.expect_err("there is no such file");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(status.message(), format!("model.init: no file of digest {digest} was uploaded"));
    cluster.still_works().await;
}
