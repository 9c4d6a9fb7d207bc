use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::SampleContext;
use crate::test_support::{data_folder, parameters};

fn record(labels: &[u8], seed: usize) -> Vec<u8> {
    let pixels = (0..PIXELS).map(|place| ((place * 7 + seed * 13) % 256) as u8);
    labels.iter().copied().chain(pixels).collect()
}

/// A folder with the files of CIFAR-10, one record in each, and those of CIFAR-100, two records in each.
fn files() -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    let ten = folder.path().join("ten");
    fs::create_dir(&ten).unwrap();
    for batch in 1..=5 {
        fs::write(ten.join(format!("data_batch_{batch}.bin")), record(&[batch as u8], batch)).unwrap();
    }
    fs::write(ten.join("test_batch.bin"), record(&[9], 6)).unwrap();
    for name in ["train.bin", "test.bin"] {
        let records = [record(&[19, 99], 1), record(&[3, 42], 2)].concat();
        fs::write(folder.path().join(name), records).unwrap();
    }
    (folder, environment)
}

fn load10(environment: &DataEnvironment, given: Value) -> Result<Box<dyn Dataset>, DataError> {
    cifar10(&parameters(given), environment)
}

fn train(data: &dyn Dataset) -> (Vec<f32>, Vec<u32>) {
    let samples: Vec<u64> = (0..data.description().train_samples).collect();
    let batch = data.batch(Split::Train, &samples, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let classes = batch.targets.iter().map(|target| target.class).collect();
    (batch.inputs, classes)
}

#[test]
fn the_files_of_cifar_10_are_read_in_order() {
    let (_folder, environment) = files();
    let data = load10(&environment, json!({ "folder": "ten" })).unwrap();
    let description = data.description();
    assert_eq!((description.train_samples, description.test_samples, description.classes), (5, 1, 10));
    assert_eq!(description.input_shape, [3, 32, 32]);
    let (inputs, classes) = train(data.as_ref());
    assert_eq!(classes, [1, 2, 3, 4, 5]);
    let expected = record(&[], 3).into_iter().map(|pixel| f32::from(pixel) / 255.0);
    assert!(inputs[2 * PIXELS..3 * PIXELS].iter().copied().eq(expected));

    let named =
        json!({ "train": ["ten/data_batch_3.bin", "ten/data_batch_1.bin"], "test": "ten/test_batch.bin" });
    assert_eq!(train(load10(&environment, named).unwrap().as_ref()).1, [3, 1]);
}

#[test]
fn without_files_for_a_test_there_is_none_where_files_are_named() {
    let (_folder, environment) = files();
    let data = load10(&environment, json!({ "train": "ten/data_batch_3.bin" })).unwrap();
    assert_eq!((data.description().train_samples, data.description().test_samples), (1, 0));
    // A file with the original name is in the data folder, but belongs to other data.
    let data = cifar100(&parameters(json!({ "train": "test.bin" })), &environment).unwrap();
    assert_eq!((data.description().train_samples, data.description().test_samples), (2, 0));
}

#[test]
fn cifar_100_has_fine_and_coarse_classes() {
    let (_folder, environment) = files();
    for (given, classes, labels) in [
        (json!({}), 100, [99, 42]),
        (json!({ "labels": "fine" }), 100, [99, 42]),
        (json!({ "labels": "coarse" }), 20, [19, 3]),
    ] {
        let data = cifar100(&parameters(given), &environment).unwrap();
        assert_eq!(data.description().classes, classes);
        assert_eq!(train(data.as_ref()).1, labels);
    }
}

#[test]
fn compressed_files_give_the_same_data() {
    let (folder, environment) = files();
    let plain = cifar100(&parameters(json!({})), &environment).unwrap();
    let bytes = fs::read(folder.path().join("train.bin")).unwrap();
    fs::write(folder.path().join("train.bin"), zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
    let packed = cifar100(&parameters(json!({})), &environment).unwrap();
    assert_eq!(packed.description(), plain.description());
}

#[test]
fn files_longer_than_a_block_are_read_whole() {
    let (folder, environment) = files();
    let records: Vec<u8> = (0..600).flat_map(|row| record(&[(row % 10) as u8], row)).collect();
    fs::write(folder.path().join("long"), records).unwrap();
    let data = load10(&environment, json!({ "train": "long", "test": "long" })).unwrap();
    assert_eq!((data.description().train_samples, data.description().test_samples), (600, 600));
    assert_eq!(train(data.as_ref()).1, (0..600).map(|row| row % 10).collect::<Vec<u32>>());
}

#[test]
fn wrong_files_are_refused_with_their_record() {
    let (folder, mut environment) = files();
    let mut refuse = |bytes: Vec<u8>, limit| {
        fs::write(folder.path().join("bad"), bytes).unwrap();
        environment.memory_limit = limit;
        let error =
            load10(&environment, json!({ "train": "bad", "test": "ten/test_batch.bin" })).err().unwrap();
        assert!(!error.is_fault_of_job());
        error.to_string()
    };
    let good = [record(&[1], 1), record(&[2], 2)].concat();
    for (bytes, limit, expected) in [
        (good[..5000].to_vec(), 1 << 20, "data file \"bad\": truncated: record 1 has 1927 of 3073 bytes"),
        (
            [&good[..], &record(&[10], 3)].concat(),
            1 << 20,
            "record 2: found 10, expected a class from 0 to 9",
        ),
        (Vec::new(), 1 << 20, "training split: found 0 samples in \"bad\", expected at least 1"),
        (good, 6000, "takes 6152 bytes in memory, this worker's limit is 6000"),
    ] {
        let error = refuse(bytes, limit);
        assert!(error.contains(expected), "{error}");
    }
    let error = load10(&environment, json!({ "folder": "none" })).err().unwrap().to_string();
    assert!(error.contains("\"none/data_batch_1.bin\": not found"), "{error}");
    let error = load10(&environment, json!({ "labels": "fine" })).err().unwrap();
    assert!(error.is_fault_of_job() && error.to_string().starts_with("data.labels"));
}
