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
        (
            "train/cat/x.png",
            &b"nonsense"[..],
            "data file \"train/cat/x.png\": image: it begins with the bytes [6e, 6f, 6e, 73]",
        ),
        ("train/dog/x.png", &grey(1)[..30], "data file \"train/dog/x.png\": image: damaged PNG"),
        (
            "train/dog/x.png",
            &png(3, 3, 1, &[0; 9]),
            "\"train/dog/x.png\": image: 3 × 3 pixels, expected 2 × 1",
        ),
        (
            "test/bird/x.png",
            &grey(1),
            "data file \"test\": class: found \"bird\", expected a class that the training split has, too: \"cat\", \"dog\"",
        ),
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
        (json!({ "train": "bare" }), "\"bare\": 0 folders of classes with images"),
        (json!({ "train": "empty" }), "\"empty\": 0 folders of classes with images"),
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

fn found(data: &dyn Dataset) -> Vec<String> {
    data.report().findings.iter().map(ToString::to_string).collect()
}

fn write(folder: &TempDir, path: &str, bytes: &[u8]) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_report_has_the_names_of_the_classes_and_all_that_is_left_out() {
    let (folder, environment) = files();
    write(&folder, "train/cat/deep/er/c.png", &grey(1));
    write(&folder, "train/beside.jpg", &grey(1));
    let data = load_given(&environment, both()).unwrap();
    let report = data.report();
    assert_eq!(report.class_names, ["cat", "dog"]);
    assert_eq!(report.samples, [[2, 0], [2, 1]]);
    let mut found = found(data.as_ref());
    found.sort();
    assert_eq!(
        found,
        [
            "left out of the training split: 1 beside the folders of classes (beside.jpg)",
            "left out of the training split: 1 file or folder of a system or tool (cat/.hidden.png)",
            "left out of the training split: 1 in subfolders, which nested = true reads (cat/deep/er/c.png)",
            "left out of the training split: 1 with names that end in .md (readme.md)",
            "left out of the training split: 1 with names that end in .txt (cat/notes.txt)",
        ]
    );
    let classes = "classes, with training + test samples: 0 \"cat\" (2 + 0), 1 \"dog\" (2 + 1)";
    assert_eq!(report.lines()[1..3], [classes, "1 of 2 classes has no test sample: \"cat\""]);
}

#[test]
fn folders_of_systems_and_empty_ones_are_no_classes() {
    let (folder, environment) = files();
    let plain = load_given(&environment, both()).unwrap();
    write(&folder, "train/__MACOSX/cat/._a.png", b"leftover");
    write(&folder, "train/.ipynb_checkpoints/a.png", &grey(1));
    write(&folder, "train/ant/.DS_Store", b"leftover");
    fs::create_dir_all(folder.path().join("train/bee/deep")).unwrap();
    let data = load_given(&environment, both()).unwrap();
    assert_eq!(data.description(), plain.description());
    assert_eq!(data.report().class_names, ["cat", "dog"]);
    let found = found(data.as_ref());
    let has = |text: &str| {
        found.iter().any(|line| line.starts_with("left out of the training") && line.contains(text))
    };
    assert!(has("folders without files (") && has("__MACOSX") && has(".ipynb_checkpoints"), "{found:?}");
}

#[test]
fn images_of_all_endings_are_read_in_any_case() {
    let (folder, environment) = files();
    for (number, ending) in
        ["JPG", "jpe", "JFIF", "webp", "GIF", "Bmp", "dib", "tif", "TIFF"].iter().enumerate()
    {
        write(&folder, &format!("train/dog/{number}.{ending}"), &grey(1));
    }
    assert_eq!(load_given(&environment, both()).unwrap().description().train_samples, 4 + 9);
}

#[test]
fn images_in_subfolders_belong_to_the_class_where_the_job_says_so() {
    let (folder, environment) = files();
    write(&folder, "train/cat/deep/er/c.png", &grey(70));
    write(&folder, "train/cat/deep/b.png", &grey(60));
    let data = load_given(&environment, json!({ "train": "train", "nested": true })).unwrap();
    let expected = [(0, 10), (0, 128), (0, 60), (0, 70), (1, 30), (1, 40)];
    assert_eq!(samples(data.as_ref(), Split::Train, 6), expected);
}

#[test]
fn a_class_with_files_of_which_none_is_an_image_is_refused_with_the_reason() {
    let (folder, environment) = files();
    write(&folder, "train/bee/a.heic", b"?");
    write(&folder, "train/bee/b.heic", b"?");
    let refused = || load_given(&environment, both()).err().unwrap().to_string();
    let expected = "data file \"train/bee\": a class without images: none of its 2 files ends in .png, .jpg, .jpeg, .jpe, \
                    .jfif, .webp, .gif, .bmp, .dib, .tif, .tiff";
    assert_eq!(refused(), expected);
    write(&folder, "train/bee/deep/c.png", &grey(1));
    assert!(refused().ends_with("; nested = true reads the 1 images in its subfolders"), "{}", refused());
    fs::remove_file(folder.path().join("train/bee/a.heic")).unwrap();
    fs::remove_file(folder.path().join("train/bee/b.heic")).unwrap();
    assert!(refused().ends_with("a class whose 1 images lie in subfolders: nested = true reads them"));
}

#[cfg(unix)]
#[test]
fn links_to_folders_within_a_class_are_not_followed() {
    let (folder, environment) = files();
    std::os::unix::fs::symlink(folder.path().join("train"), folder.path().join("train/cat/around")).unwrap();
    let data = load_given(&environment, json!({ "train": "train", "nested": true })).unwrap();
    assert_eq!(data.description().train_samples, 4);
    assert!(found(data.as_ref()).iter().any(|line| line.contains("1 link to a folder (cat/around)")));
}
