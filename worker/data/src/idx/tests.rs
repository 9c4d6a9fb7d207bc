use std::fs;
use std::io::Write;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::SampleContext;
use crate::test_support::{data_folder, parameters};

fn file(magic: [u8; 4], extents: &[u32], content: &[u8]) -> Vec<u8> {
    let extents: Vec<u8> = extents.iter().flat_map(|extent| extent.to_be_bytes()).collect();
    [&magic[..], &extents, content].concat()
}

fn images(samples: u32) -> Vec<u8> {
    let pixels: Vec<u8> = (0..samples * 6).map(|pixel| pixel as u8).collect();
    file(IMAGES, &[samples, 2, 3], &pixels)
}

fn labels(labels: &[u8]) -> Vec<u8> {
    file(LABELS, &[labels.len() as u32], labels)
}

/// A folder with the files of MNIST, three images for training and one for testing; the test files are compressed.
fn files() -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        if !name.ends_with("gz") {
            return fs::write(path, bytes).unwrap();
        }
        let file = fs::File::create(path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
    };
    write("train-images-idx3-ubyte", images(3));
    write("train-labels-idx1-ubyte", labels(&[5, 0, 4]));
    write("t10k-images-idx3-ubyte.gz", images(1));
    write("t10k-labels-idx1-ubyte.gz", labels(&[2]));
    (folder, environment)
}

fn load_given(environment: &DataEnvironment, given: Value) -> Result<Box<dyn Dataset>, DataError> {
    idx(&parameters(given), environment)
}

#[test]
fn the_files_of_mnist_are_found_plain_or_compressed() {
    let (_folder, environment) = files();
    let data = load_given(&environment, json!({})).unwrap();
    let description = data.description();
    assert_eq!((description.train_samples, description.test_samples, description.classes), (3, 1, 6));
    assert_eq!(description.input_shape, [1, 2, 3]);
    let context = SampleContext { seed: 0, epoch: 0 };
    let batch = data.batch(Split::Train, &[2], context).unwrap();
    assert_eq!(batch.targets[0].class, 4);
    let inputs: Vec<f32> = batch.inputs;
    assert_eq!(inputs, [12, 13, 14, 15, 16, 17].map(|pixel| f32::from(pixel as u8) / 255.0));
}

#[test]
fn the_files_of_mnist_are_found_under_names_with_points_too() {
    let (folder, environment) = files();
    let plain = load_given(&environment, json!({})).unwrap();
    for name in ["train-images", "train-labels", "t10k-images", "t10k-labels"] {
        let (dimensions, ending) =
            (if name.ends_with("images") { 3 } else { 1 }, if name.starts_with("t10k") { ".gz" } else { "" });
        let path =
            |between: char| folder.path().join(format!("{name}{between}idx{dimensions}-ubyte{ending}"));
        fs::rename(path('-'), path('.')).unwrap();
    }
    assert_eq!(load_given(&environment, json!({})).unwrap().description(), plain.description());
}

#[test]
fn files_can_be_named_and_images_resized() {
    let (_folder, environment) = files();
    let pair = json!({ "images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte" });
    let given = json!({ "train": pair, "test": pair, "classes": 10, "resize": [4, 4], "channels": 3 });
    let data = load_given(&environment, given).unwrap();
    let description = data.description();
    assert_eq!((description.test_samples, description.classes), (3, 10));
    assert_eq!(description.input_shape, [3, 4, 4]);
}

#[test]
fn without_files_for_a_test_there_is_none_where_files_are_named() {
    let (_folder, environment) = files();
    let pair = json!({ "images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte" });
    let data = load_given(&environment, json!({ "train": pair })).unwrap();
    assert_eq!((data.description().train_samples, data.description().test_samples), (3, 0));
}

#[test]
fn wrong_files_are_refused_by_name() {
    let (folder, mut environment) = files();
    let whole = images(3);
    let mut refuse = |image: &[u8], label: &[u8], limit| {
        fs::write(folder.path().join("images"), image).unwrap();
        fs::write(folder.path().join("labels"), label).unwrap();
        environment.memory_limit = limit;
        let given = json!({ "train": { "images": "images", "labels": "labels" }, "classes": 6 });
        let error = load_given(&environment, given).err().unwrap();
        assert!(!error.is_fault_of_job());
        error.to_string()
    };
    let three = labels(&[5, 0, 4]);
    let cut = &whole[..whole.len() - 1];
    let more = [&whole[..], &[0]].concat();
    let huge = file(IMAGES, &[3, u32::MAX, u32::MAX], &[]);
    let many = file(LABELS, &[u32::MAX], &[]);
    let flat = file(IMAGES, &[3, 0, 3], &[]);
    for (image, label, expected) in [
        (
            &three[..],
            &three[..],
            "\"images\": not a file of the kind IDX: it begins with the bytes [00, 00, 08, 01]",
        ),
        (&whole, &whole, "\"labels\": not a file of the kind IDX"),
        (&[], &three, "\"images\": not a file of the kind IDX: the file is empty"),
        (&whole[..10], &three, "\"images\": truncated: header has 10 of 16 bytes"),
        (cut, &three, "\"images\": truncated: item 2 of 3 has 5 of 6 bytes"),
        (&more, &three, "\"images\": bytes follow after 3 items"),
        (&images(4), &three, "\"images\": 4 images, expected 3 as in the file of labels"),
        (&whole, &labels(&[5, 6, 4]), "\"labels\": label 1: found 6, expected a class from 0 to 5"),
        (&images(0), &labels(&[]), "training split: found 0 samples in \"images\" and 1 more"),
        (&huge, &three, "takes 18446744073709551615 bytes"),
        (&flat, &three, "\"images\": 0 pixels of an image, expected at least one"),
        (&whole, &many, "takes 17179869180 bytes"),
    ] {
        let error = refuse(image, label, 1 << 20);
        assert!(error.contains(expected), "{error}");
    }
    assert!(refuse(&whole, &three, 20).contains("this worker's limit is 20"));
}
