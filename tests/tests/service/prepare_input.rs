//! Jobs whose errors only a worker can find: in models, data and files. Each job fails, and the error names the key,
//! file, tensor or worker.

use std::os::unix::fs::symlink;
use std::path::Path;

use lookbehind_common::job::{Group, JobFile, Unit};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::files::{FileTensor, safetensors, with_header};
use lookbehind_tests::jobs::{SMALL, small_with};
use serde_json::{Value, json};

fn with_model(key: &str, value: Value) -> JobFile {
    small_with(|job| {
        job.model.parameters.insert(key.to_owned(), value);
    })
}

fn with_data(key: &str, value: Value) -> JobFile {
    small_with(|job| {
        job.data.parameters.insert(key.to_owned(), value);
    })
}

fn with_group(pattern: &str, frozen: Option<bool>) -> JobFile {
    let group = Group { tensors: vec![pattern.to_owned()], frozen, ..Group::default() };
    small_with(|job| job.optimizer.groups = vec![group])
}

async fn fails_naming(cluster: &Cluster, job: &JobFile, words: &[&str]) {
    let message = cluster.client().run_to_failure(job).await;
    for word in words {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
    assert!(message.len() < 2000, "a message of {} bytes", message.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_parameters_of_models_and_data_fail_the_job_by_their_key() {
    let cluster = Cluster::of(1).await;
    let cases = [
        (with_model("hiden", json!([16])), vec!["model", "hiden"]),
        (with_model(&"x".repeat(200 << 10), json!([16])), vec!["model", "xxx"]),
        (with_model("hidden", json!("16")), vec!["model.hidden", "16"]),
        (with_model("hidden", json!([16, -1])), vec!["model.hidden[1]"]),
        (with_model("hidden", json!([0])), vec!["model.hidden[0]", "found 0"]),
        (with_model("hidden", json!([1.5])), vec!["model.hidden[0]", "1.5"]),
        (with_model("hidden", json!([1_u64 << 40])), vec!["model.hidden[0]", "1099511627776"]),
        (with_model("hidden", json!(vec![1; 2000])), vec!["model.hidden", "2000"]),
        // Valid, but beyond the worker's memory limit.
        (with_model("hidden", json!([1 << 24, 1 << 24])), vec!["worker w1", "layers.0.weight", "67108864"]),
        (small_with(|job| job.model.parameters.clear()), vec!["model", "hidden"]),
        (small_with(|job| job.model.kind = "mpl".into()), vec!["model.kind", "mpl", "mlp"]),
        (
            with_group("layers.1.weigth", Some(false)),
            vec!["optimizer.groups[0].tensors", "layers.1.weigth", "did you mean \"layers.1.weight\""],
        ),
        (
            small_with(|job| (job.schedule.unit, job.schedule.warmup) = (Some(Unit::Step), Some(18))),
            vec!["schedule.warmup", "18 outer steps"],
        ),
        (with_group("*", Some(true)), vec!["optimizer.groups", "at least one parameter that is not frozen"]),
        (small_with(|job| job.data.kind = "digist".into()), vec!["data.kind", "digist", "digits"]),
        (with_data("trian", json!("x")), vec!["data", "trian"]),
        (with_data("train", json!(7)), vec!["data.train", "7"]),
        (with_data("classes", json!(0)), vec!["data.classes", "found 0"]),
        (with_data("classes", json!(1_u64 << 40)), vec!["data.classes"]),
        (small_with(|job| job.data.parameters.clear()), vec!["data", "train"]),
        (
            small_with(|job| {
                job.train.batch_size = 198;
                job.data.drop_last = Some(true);
            }),
            vec!["train.batch_size", "197", "198"],
        ),
    ];
    for (job, words) in cases {
        fails_naming(&cluster, &job, &words).await;
    }
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_leave_the_data_folder_or_cannot_be_paths_fail_the_job_by_their_key() {
    let cluster = Cluster::of(1).await;
    let outside = tempfile::TempDir::new().unwrap();
    std::fs::copy(cluster.data().join(SMALL), outside.path().join(SMALL)).unwrap();
    let absolute = outside.path().join(SMALL);
    let long = "x".repeat(200 << 10);
    for path in
        ["", "../small.safetensors", "a/../../small.safetensors", "a\0b", &long, absolute.to_str().unwrap()]
    {
        fails_naming(&cluster, &with_data("train", json!(path)), &["data.train"]).await;
        fails_naming(&cluster, &with_data("test", json!(path)), &["data.test"]).await;
    }
    symlink(&absolute, cluster.data().join("link.safetensors")).unwrap();
    symlink(outside.path(), cluster.data().join("folder")).unwrap();
    for path in ["link.safetensors", "folder/small.safetensors"] {
        fails_naming(&cluster, &with_data("train", json!(path)), &["worker w1", path, "link"]).await;
    }
    cluster.still_works().await;
}

/// A header with one tensor for each (name, type, shape, offsets).
fn header(tensors: &[(&str, &str, &str, &str)]) -> String {
    let entry = |(name, dtype, shape, offsets): &(&str, &str, &str, &str)| {
        format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}")
    };
    format!("{{{}}}", tensors.iter().map(entry).collect::<Vec<_>>().join(","))
}

fn inputs(rows: usize) -> FileTensor {
    FileTensor::f32("inputs", &[rows, 2], &vec![0.5; 2 * rows])
}

/// Files that are not a data set, by name, with the words that the error must contain.
fn damaged_files(good: &[u8]) -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let mut nan = vec![0.5; 6];
    nan[4] = f32::NAN;
    let mut infinite = nan.clone();
    infinite[4] = f32::NEG_INFINITY;
    let targets = |values: &[i64]| FileTensor::i64("targets", values);
    let overlapping = header(&[("inputs", "F32", "[2,2]", "[0,16]"), ("targets", "I64", "[2]", "[8,24]")]);
    let overflowing = header(&[
        ("inputs", "F32", "[9223372036854775807,9223372036854775807]", "[0,16]"),
        ("targets", "I64", "[2]", "[16,32]"),
    ]);
    let beyond = header(&[
        ("inputs", "F32", "[1099511627776,2]", "[0,8796093022208]"),
        ("targets", "I64", "[1099511627776]", "[8796093022208,17592186044416]"),
    ]);
    let mut huge = (1_u64 << 60).to_le_bytes().to_vec();
    huge.extend_from_slice(b"{}");
    vec![
        ("empty", Vec::new(), vec!["0 bytes"]),
        ("truncated", good[..good.len() - 100].to_vec(), vec!["length"]),
        ("truncated-in-header", good[..40].to_vec(), vec!["truncated"]),
        ("text", b"this is a text and no safetensors file".to_vec(), vec!["header"]),
        ("huge-header", huge, vec!["header", "1152921504606846976"]),
        ("overlapping", with_header(&overlapping, 24), vec!["header"]),
        ("overflowing", with_header(&overflowing, 32), vec!["header"]),
        ("beyond", with_header(&beyond, 32), vec!["length 221", "17592186044605"]),
        ("no-targets", safetensors(&[inputs(3)]), vec!["targets", "missing"]),
        (
            "flat",
            safetensors(&[FileTensor::f32("inputs", &[3], &[0.5; 3]), targets(&[0, 1, 0])]),
            vec!["inputs", "[3]"],
        ),
        ("short-targets", safetensors(&[inputs(3), targets(&[0, 1])]), vec!["targets", "[2]", "[3]"]),
        (
            "float-targets",
            safetensors(&[inputs(3), FileTensor::f32("targets", &[3], &[0.0; 3])]),
            vec!["targets", "F32"],
        ),
        ("negative-label", safetensors(&[inputs(3), targets(&[0, -1, 1])]), vec!["targets", "row 1", "-1"]),
        ("huge-label", safetensors(&[inputs(3), targets(&[0, 1, i64::MAX])]), vec!["targets", "row 2"]),
        (
            "nan",
            safetensors(&[FileTensor::f32("inputs", &[3, 2], &nan), targets(&[0, 1, 0])]),
            vec!["inputs", "row 2", "NaN"],
        ),
        (
            "infinite",
            safetensors(&[FileTensor::f32("inputs", &[3, 2], &infinite), targets(&[0, 1, 0])]),
            vec!["inputs", "row 2", "-inf"],
        ),
    ]
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let file = format!("{name}.safetensors");
    std::fs::write(folder.join(&file), bytes).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_trained_on_fail_the_job_by_worker_file_and_tensor() {
    let cluster = Cluster::of(1).await;
    let good = std::fs::read(cluster.data().join(SMALL)).unwrap();
    fails_naming(
        &cluster,
        &with_data("train", json!("missing.safetensors")),
        &["worker w1", "missing.safetensors", "not found"],
    )
    .await;
    std::fs::create_dir(cluster.data().join("directory")).unwrap();
    fails_naming(&cluster, &with_data("train", json!("directory")), &["worker w1", "directory", "regular"])
        .await;
    for (name, bytes, mut words) in damaged_files(&good) {
        let file = put(cluster.data(), name, &bytes);
        words.extend(["worker w1", &file]);
        fails_naming(&cluster, &with_data("train", json!(file)), &words).await;
        // As a test split, some are refused earlier for the shape of their samples.
        fails_naming(&cluster, &with_data("test", json!(file)), &["worker w1", &file]).await;
    }
    // The small data set has ten classes; its inputs have 64 elements.
    fails_naming(&cluster, &with_data("classes", json!(5)), &["worker w1", SMALL, "targets", "from 0 to 4"])
        .await;
    let narrow =
        put(cluster.data(), "narrow", &safetensors(&[inputs(2), FileTensor::i64("targets", &[0, 1])]));
    fails_naming(&cluster, &with_data("test", json!(narrow)), &["narrow.safetensors", "inputs", "[64]"])
        .await;
    cluster.still_works().await;
}
