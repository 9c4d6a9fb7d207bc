//! Files of initial weights: files that cannot be a model's weights fail the job, and the error names key and tensor.

use ::safetensors::Dtype;
use lookbehind_common::job::JobFile;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::files::{FileTensor, safetensors, with_header};
use lookbehind_tests::jobs::small_with;

fn starting_from(digest: &str) -> JobFile {
    small_with(|job| job.model.init = Some(digest.to_owned()))
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

/// Files that are not the model's weights, with the words that the error must contain.
fn wrong_files() -> Vec<(Vec<u8>, Vec<&'static str>)> {
    let mut lacking = tensors();
    lacking.remove(1);
    let mut extra = tensors();
    extra.push(FileTensor::f32("layers.2.weight", &[1], &[0.0]));
    let one = |shape: &str, offsets: &str| {
        format!("{{\"layers.0.bias\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    let mut huge = (1_u64 << 60).to_le_bytes().to_vec();
    huge.extend_from_slice(b"{}");
    let infinite = f32::INFINITY.to_le_bytes();
    vec![
        (safetensors(&lacking), vec!["layers.0.bias", "missing"]),
        (safetensors(&extra), vec!["layers.2.weight"]),
        (changed(2, |tensor| tensor.shape = vec![16, 10]), vec!["layers.1.weight", "[10, 16]", "[16, 10]"]),
        (changed(2, |tensor| tensor.shape = vec![160]), vec!["layers.1.weight", "[160]"]),
        (
            changed(3, |tensor| tensor.bytes[8..12].copy_from_slice(&f32::NAN.to_le_bytes())),
            vec!["layers.1.bias", "number 2", "not finite"],
        ),
        (
            changed(0, |tensor| tensor.bytes[..4].copy_from_slice(&infinite)),
            vec!["layers.0.weight", "not finite"],
        ),
        (changed(1, |tensor| tensor.dtype = Dtype::I32), vec!["layers.0.bias", "F32", "I32"]),
        (Vec::from(*b"no weights at all"), vec![]),
        (huge, vec![]),
        (with_header(&one("[16]", "[0,1024]"), 64), vec![]),
        (with_header(&one("[9223372036854775807,9223372036854775807]", "[0,64]"), 64), vec![]),
        (with_header(&one("[16]", "[64,0]"), 64), vec![]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_that_are_not_the_models_fail_the_job_by_key_and_tensor() {
    let cluster = Cluster::of(1).await;
    for (number, (bytes, words)) in wrong_files().into_iter().enumerate() {
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
async fn weights_that_were_not_uploaded_fail_the_job_by_key_and_digest() {
    let cluster = Cluster::of(1).await;
    let digest = "0123456789abcdef".repeat(4);
    let message = cluster.client().run_to_failure(&starting_from(&digest)).await;
    assert!(message.contains("model.init") && message.contains(&digest), "{message}");
    let state = cluster.state().to_str().unwrap();
    assert!(!message.contains(state), "{message} tells where the coordinator keeps its files");
    cluster.still_works().await;
}
