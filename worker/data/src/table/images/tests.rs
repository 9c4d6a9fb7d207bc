//! Tables in CSV that name images.

use std::fs;

use lookbehind_data_fixtures::images::png;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::test_support::{data_folder, parameters};
use crate::{DataEnvironment, DataError, Dataset, SampleContext, Split, csv};

fn image(value: u8) -> Vec<u8> {
    png(1, 2, 1, &[value, 255])
}

/// A folder with images and a table beside them.
fn written(table: &str) -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    fs::create_dir_all(folder.path().join("set/pictures")).unwrap();
    for value in 0..4 {
        fs::write(folder.path().join(format!("set/pictures/{value}.png")), image(value)).unwrap();
    }
    fs::write(folder.path().join("set/train.csv"), table).unwrap();
    (folder, environment)
}

fn load(environment: &DataEnvironment, more: Value) -> Result<Box<dyn Dataset>, DataError> {
    let mut all = json!({ "train": "set/train.csv", "image": "file" });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    csv(&parameters(all), environment)
}

fn first_pixels(data: &dyn Dataset) -> Vec<(f32, u32)> {
    let all: Vec<u64> = (0..data.description().train_samples).collect();
    let batch = data.batch(Split::Train, &all, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let pixels = batch.inputs.chunks(2).map(|pixels| pixels[0] * 255.0);
    pixels.zip(batch.targets.iter().map(|target| target.class)).collect()
}

#[test]
fn names_are_relative_to_the_table_or_to_the_root() {
    let expected = [(2.0, 1), (0.0, 0), (3.0, 1)];
    let in_pictures = "file;label;author\n2.png;cat;me\n./0.png;ant;you\n\n3.png;cat;me\n";
    let (_folder, environment) = written(in_pictures);
    let data = load(&environment, json!({ "root": "set/pictures/" })).unwrap();
    assert_eq!(first_pixels(data.as_ref()), expected);
    assert_eq!(data.report().class_names, ["ant", "cat"]);
    assert_eq!(data.description().input_shape, [1, 1, 2]);
    let (_folder, environment) =
        written("file,label\npictures/2.png,1\npictures/0.png,0\npictures/3.png,1\n");
    assert_eq!(first_pixels(load(&environment, json!({})).unwrap().as_ref()), expected);
    let (_folder, environment) = written("pictures/2.png,1.0\npictures/0.png,0\npictures/3.png,1\n");
    let more = json!({ "header": false, "image": 0, "label": 1 });
    assert_eq!(first_pixels(load(&environment, more).unwrap().as_ref()), expected);
}

#[test]
fn rows_whose_image_cannot_be_used_are_named_with_it() {
    for (row, expected) in [
        (
            "9.png,1",
            "line 3, column \"file\": file \"set/pictures/9.png\": not found in this worker's data folder",
        ),
        (
            "../../../etc/passwd,1",
            "line 3, column \"file\": found \"set/pictures/../../../etc/passwd\", expected",
        ),
        ("/etc/passwd,1", "line 3, column \"file\": file \"set/pictures//etc/passwd\": not found"),
        (",1", "line 3, column \"file\": found \"\", expected the name of a file"),
        ("1.png,", "line 3, column \"label\": found \"\", expected a label"),
        (
            "text.png,1",
            "line 3, column \"file\": file \"set/pictures/text.png\": image: it begins with the bytes",
        ),
        (
            "wide.png,1",
            "line 3, column \"file\": file \"set/pictures/wide.png\": image: 3 × 1 pixels, expected 2 × 1",
        ),
    ] {
        let (folder, environment) = written(&format!("file,label\n0.png,0\n{row}\n"));
        fs::write(folder.path().join("set/pictures/text.png"), "no image").unwrap();
        fs::write(folder.path().join("set/pictures/wide.png"), png(1, 3, 1, &[0; 3])).unwrap();
        let error = load(&environment, json!({ "root": "set/pictures" })).err().unwrap();
        assert!(!error.is_fault_of_job(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("data file \"set/train.csv\": ") && text.contains(expected), "{text}");
    }
}

#[test]
fn rows_without_an_image_and_damaged_images_are_left_out_where_the_job_says_so() {
    let (folder, environment) = written("file,label\n0.png,0\n,1\nbad.png,1\n2.png,1\n");
    fs::write(folder.path().join("set/pictures/bad.png"), &image(1)[..40]).unwrap();
    let more = json!({ "root": "set/pictures", "missing": "skip", "on_damaged": "skip" });
    let data = load(&environment, more).unwrap();
    assert_eq!(first_pixels(data.as_ref()), [(0.0, 0), (2.0, 1)]);
    let findings: Vec<String> = data.report().findings.iter().map(ToString::to_string).collect();
    assert!(findings[0].ends_with("1 row with a missing value (set/train.csv, line 3)"), "{findings:?}");
    assert!(findings[1].ends_with("1 damaged image (set/pictures/bad.png)"), "{findings:?}");
}

#[test]
fn keys_of_images_need_a_column_of_images() {
    let (_folder, environment) = written("file,label\n0.png,0\n");
    let refuse = |more: Value| {
        let mut all = json!({ "train": "set/train.csv" });
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        csv(&parameters(all), &environment).err().unwrap().to_string()
    };
    let expected = "data.resize: has no meaning without data.image, the column of images";
    assert_eq!(refuse(json!({ "resize": [2, 2] })), expected);
    assert!(refuse(json!({ "root": "set" })).starts_with("data.root: has no meaning without data.image"));
    assert!(
        refuse(json!({ "image": "file", "shape": [2] }))
            .starts_with("data.shape: has no meaning with data.image")
    );
    assert!(refuse(json!({ "image": "label" })).contains("data.label: \"label\" is the column of images"));
    assert!(refuse(json!({ "image": "x" })).contains("column \"x\": missing; there are file, label"));
    let error = refuse(json!({}));
    assert!(
        error.contains("found \"0.png\", expected a finite number; image = \"COLUMN\" reads the images"),
        "{error}"
    );
}
