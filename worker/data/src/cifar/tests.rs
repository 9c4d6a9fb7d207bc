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

/// Records of CIFAR-10 as a batch of the Python version.
fn pickled(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"\x80\x02}q\x01(U\x06labelsq\x04]q\x05(".to_vec();
    records.iter().for_each(|record| bytes.extend([b'K', record[0]]));
    bytes.extend(
        b"eU\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01M",
    );
    bytes.extend((records.len() as u16).to_le_bytes());
    bytes.extend(b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend(((records.len() * PIXELS) as u32).to_le_bytes());
    records.iter().for_each(|record| bytes.extend(&record[1..]));
    bytes.extend(b"tbu.");
    bytes
}

fn packed(folder: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn both_versions_are_read_as_they_are_downloaded_and_give_the_same_samples() {
    let (folder, environment) = files();
    let expected = load10(&environment, json!({ "folder": "ten" })).unwrap().description().clone();
    let batches = |name: &dyn Fn(usize) -> String, form: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let label = |batch: usize| if batch == 6 { 9 } else { batch as u8 };
        (1..=6).map(|batch| (name(batch), form(record(&[label(batch)], batch)))).collect::<Vec<_>>()
    };
    let name = |ending: &'static str| {
        move |batch| match batch {
            6 => format!("test_batch{ending}"),
            batch => format!("data_batch_{batch}{ending}"),
        }
    };
    let binary = batches(&name(".bin"), &|record| record);
    let python = batches(&name(""), &|record| pickled(&[record]));
    for (place, archive, inner, files) in [
        ("b", "cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary),
        ("p", "cifar-10-python.tar.gz", "cifar-10-batches-py", python),
    ] {
        let unpacked = folder.path().join(format!("{place}-unpacked")).join(inner);
        fs::create_dir_all(&unpacked).unwrap();
        files.iter().for_each(|(name, bytes)| fs::write(unpacked.join(name), bytes).unwrap());
        let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        fs::create_dir(folder.path().join(place)).unwrap();
        fs::write(folder.path().join(place).join(archive), packed(inner, &files)).unwrap();
        for given in [
            place.to_owned(),
            format!("{place}-unpacked"),
            format!("{place}-unpacked/{inner}"),
            format!("{place}/{archive}/{inner}"),
        ] {
            let found = load10(&environment, json!({ "folder": given })).unwrap();
            assert_eq!(found.description(), &expected, "{given}");
        }
    }
}

#[test]
fn a_batch_that_is_none_says_what_it_is() {
    let (folder, environment) = data_folder();
    let whole = pickled(&[record(&[3], 1), record(&[10], 2)]);
    for (bytes, expected) in [
        (whole.clone(), "record 1: found 10, expected a class from 0 to 9"),
        (whole[..5000].to_vec(), "not a usable CIFAR batch file: truncated"),
        (b"<!DOCTYPE html><title>404".to_vec(), "a web page in the place of the file"),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), "a pointer of git-lfs"),
        (b"{\"error\": \"quota\"}".to_vec(), "JSON in the place of the file"),
    ] {
        fs::write(folder.path().join("batch"), bytes).unwrap();
        let error = load10(&environment, json!({ "train": "batch" })).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("data file \"batch\": ") && error.contains(expected), "{error}");
    }
}
