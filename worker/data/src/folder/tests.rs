use std::fs;

use lookbehind_data_fixtures::images::{jpeg, png};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::SampleContext;
use crate::test_support::{data_folder, parameters};

fn grey(value: u8) -> Vec<u8> {
    png(1, 2, 1, &[value, value])
}

/// Cats (one of them a JPEG) and dogs for training, a dog for testing; and files that are not images.
fn files() -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    let write = |path: &str, bytes: Vec<u8>| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("train/dog/b.png", grey(40));
    write("train/dog/a.PNG", grey(30));
    write("train/cat/10.png", grey(10));
    write("train/cat/9.jpeg", jpeg(1, 2, 1, &[128; 2], 1));
    write("train/cat/notes.txt", b"not an image".to_vec());
    write("train/cat/.hidden.png", b"not an image".to_vec());
    write("train/readme.md", b"not a class".to_vec());
    write("test/dog/a.jpg", grey(50));
    (folder, environment)
}

fn load_given(environment: &DataEnvironment, given: Value) -> Result<Box<dyn Dataset>, DataError> {
    folder(&parameters(given), environment)
}

fn both() -> Value {
    json!({ "train": "train", "test": "test" })
}

fn samples(data: &dyn Dataset, split: Split, count: u64) -> Vec<(u32, u8)> {
    let samples: Vec<u64> = (0..count).collect();
    let batch = data.batch(split, &samples, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let inputs: Vec<f32> = batch.inputs;
    let pixel = |input: &[f32]| (input[0] * 255.0).round() as u8;
    batch.targets.iter().zip(inputs.chunks(2)).map(|(target, input)| (target.class, pixel(input))).collect()
}

#[test]
fn classes_and_images_follow_their_names() {
    let (_folder, environment) = files();
    let data = load_given(&environment, both()).unwrap();
    let description = data.description();
    assert_eq!((description.classes, description.input_shape.as_slice()), (2, [1, 1, 2].as_slice()));
    assert_eq!(samples(data.as_ref(), Split::Train, 4), [(0, 10), (0, 128), (1, 30), (1, 40)]);
    assert_eq!(samples(data.as_ref(), Split::Test, 1), [(1, 50)]);
}

#[test]
fn what_cannot_be_used_is_named() {
    for (path, bytes, expected) in [
        ("train/cat/x.png", &b"nonsense"[..], "data file \"train/cat/x.png\": image: neither PNG nor JPEG"),
        ("train/dog/x.png", &grey(1)[..30], "data file \"train/dog/x.png\": image: damaged PNG"),
        (
            "train/dog/x.png",
            &png(3, 3, 1, &[0; 9]),
            "\"train/dog/x.png\": image: 3 × 3 pixels, expected 2 × 1",
        ),
        ("test/bird/x.png", &grey(1), "data file \"test\": class: found \"bird\", expected a class that the"),
    ] {
        let (folder, environment) = files();
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        let error = load_given(&environment, both()).err().unwrap();
        assert!(!error.is_fault_of_job() && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn missing_and_empty_folders_are_refused() {
    let (folder, environment) = files();
    fs::create_dir_all(folder.path().join("empty/cat")).unwrap();
    fs::create_dir_all(folder.path().join("bare")).unwrap();
    for (given, expected) in [
        (json!({ "train": "none" }), "data file \"none\": not found"),
        (json!({ "train": "train/readme.md" }), "not a folder"),
        (json!({ "train": "bare" }), "\"bare\": 0 folders of classes"),
        (json!({ "train": "empty" }), "training split: found 0 samples in \"empty\""),
        (json!({ "train": "train", "test": "empty" }), "test split: found 0 samples in \"empty\""),
    ] {
        let error = load_given(&environment, given).err().unwrap();
        assert!(!error.is_fault_of_job() && error.to_string().contains(expected), "{error}");
    }
    let error = load_given(&environment, json!({ "train": "../train" })).err().unwrap();
    assert!(error.is_fault_of_job() && error.to_string().starts_with("data.train"));
}

#[cfg(unix)]
#[test]
fn links_that_leave_the_data_folder_are_refused() {
    let (folder, environment) = files();
    let (outside, _) = files();
    std::os::unix::fs::symlink(outside.path().join("train/dog/b.png"), folder.path().join("train/dog/x.png"))
        .unwrap();
    let error = load_given(&environment, both()).err().unwrap().to_string();
    assert!(error.contains("\"train/dog/x.png\": a link leads out"), "{error}");
}
