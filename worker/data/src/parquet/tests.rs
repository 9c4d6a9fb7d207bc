use std::fs;

use ::parquet::basic::{Compression, ZstdLevel};
use lookbehind_data_fixtures::images::{jpeg, png};
use lookbehind_data_fixtures::parquet_file::{HUB, Row, write};
use serde_json::{Value, json};
use tempfile::TempDir;

mod tables;

use super::*;
use crate::test_support::{data_folder, parameters};
use crate::{SampleContext, Split};

fn row(label: i64) -> Row {
    let pixels: Vec<u8> = (0..4 * 4 * 3).map(|place| (place * 5 + label * 11) as u8).collect();
    (Some(png(4, 4, 3, &pixels)), Some(label))
}

fn rows() -> Vec<Row> {
    (0..10).map(|sample| row(sample % 4)).collect()
}

fn written(schema: &str, rows: &[Row]) -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    write(&folder.path().join("train.parquet"), schema, Compression::SNAPPY, 3, rows);
    (folder, environment)
}

fn load_given(environment: &DataEnvironment, given: Value) -> Result<Box<dyn Dataset>, DataError> {
    parquet(&parameters(given), environment)
}

fn load_train(environment: &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> {
    load_given(environment, json!({ "train": "train.parquet" }))
}

fn refuse(schema: &str, rows: &[Row], given: Value) -> String {
    let (_folder, environment) = written(schema, rows);
    let error = load_given(&environment, given).err().unwrap();
    assert!(!error.is_fault_of_job());
    let text = error.to_string();
    assert!(text.starts_with("data file \"train.parquet\": "), "{text}");
    text
}

#[test]
fn images_and_labels_come_out_in_the_order_of_the_rows() {
    let (_folder, environment) = written(HUB, &rows());
    let given = json!({ "train": ["train.parquet", "train.parquet"], "test": "train.parquet", "classes": 7 });
    let data = load_given(&environment, given).unwrap();
    let description = data.description();
    assert_eq!((description.train_samples, description.test_samples, description.classes), (20, 10, 7));
    assert_eq!(description.input_shape, [3, 4, 4]);
    let samples: Vec<u64> = (0..20).collect();
    let batch = data.batch(Split::Train, &samples, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let inputs: Vec<f32> = batch.inputs;
    for (sample, (target, pixels)) in batch.targets.iter().zip(inputs.chunks(48)).enumerate() {
        let label = (sample % 10 % 4) as u32;
        assert_eq!(target.class, label);
        assert_eq!(pixels[16], f32::from((5 + label * 11) as u8) / 255.0, "green of the first pixel");
    }
}

#[test]
fn names_of_columns_and_compression_make_no_difference() {
    let (folder, environment) = written(HUB, &rows());
    let expected = load_train(&environment).unwrap();
    let renamed = HUB.replace("img", "picture").replace("label", "fine_label");
    for compression in [Compression::UNCOMPRESSED, Compression::ZSTD(ZstdLevel::default())] {
        write(&folder.path().join("other.parquet"), &renamed, compression, 100, &rows());
        let given = json!({ "train": "other.parquet", "image": "picture", "label": "fine_label" });
        let data = load_given(&environment, given).unwrap();
        assert_eq!(data.description(), expected.description());
    }
}

#[test]
fn jpeg_and_png_stand_side_by_side() {
    let mut rows = rows();
    rows[4].0 = Some(jpeg(4, 4, 3, &[100; 48], 2));
    let (_folder, environment) = written(HUB, &rows);
    assert_eq!(load_train(&environment).unwrap().description().train_samples, 10);
}

#[test]
fn columns_that_are_missing_or_of_another_type_are_named() {
    let train = || json!({ "train": "train.parquet" });
    let with = |key: &str, value: &str| {
        let mut given = train();
        given[key] = value.into();
        given
    };
    for (schema, given, expected) in [
        (HUB.to_owned(), with("image", "picture"), "column \"picture\": missing; there are img, label"),
        (
            HUB.replace("img", "x"),
            train(),
            "column \"x\": type BYTE_ARRAY, expected numbers, truth values or texts; image = \"x\" reads images",
        ),
        (
            HUB.replace("img", "x"),
            with("on_damaged", "skip"),
            "column \"image or img\": missing; there are x, label",
        ),
        (HUB.replace("label", "y"), train(), "column \"label\": missing; there are img, y"),
    ] {
        let text = refuse(&schema, &rows(), given);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn rows_that_cannot_be_used_are_named_with_their_column() {
    for (place, changed, expected) in [
        (7, (row(0).0, None), "row 7, column \"label\": found null, expected a label"),
        (4, (None, Some(1)), "row 4, column \"img\": found null, expected an image"),
        (9, row(-1), "row 9, column \"label\": found -1, expected a class from 0 to 3"),
        (0, row(4), "row 0, column \"label\": found 4, expected a class from 0 to 3"),
        (5, (Some(row(0).0.unwrap()[..40].to_vec()), Some(0)), "row 5, column \"img\": damaged PNG"),
        (
            8,
            (Some(b"%PDF-1.7".to_vec()), Some(0)),
            "row 8, column \"img\": it begins with the bytes [25, 50, 44, 46]",
        ),
        (6, (Some(png(2, 4, 3, &[0; 24])), Some(0)), "row 6, column \"img\": 4 × 2 pixels, expected 4 × 4"),
    ] {
        let mut rows = rows();
        rows[place] = changed;
        let text = refuse(HUB, &rows, json!({ "train": "train.parquet", "classes": 4 }));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_empty_split_is_refused() {
    let (folder, environment) = written(HUB, &[]);
    let error = load_train(&environment).err().unwrap().to_string();
    assert_eq!(error, "training split: found 0 samples in \"train.parquet\", expected at least 1");
    write(&folder.path().join("some.parquet"), HUB, Compression::SNAPPY, 3, &rows());
    let refuse = |given| load_given(&environment, given).err().unwrap().to_string();
    let error = refuse(json!({ "train": "some.parquet", "test": "train.parquet" }));
    assert_eq!(error, "test split: found 0 samples in \"train.parquet\", expected at least 1");
    // No label of the test split is a class if the training split has no labels.
    let error = refuse(json!({ "train": "train.parquet", "test": "some.parquet" }));
    assert_eq!(error, "training split: found 0 samples in \"train.parquet\", expected at least 1");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (folder, environment) = written(HUB, &rows());
    let path = folder.path().join("train.parquet");
    let whole = fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = load_train(&environment).err().unwrap();
        assert!(
            error.to_string().starts_with("data file \"train.parquet\": not a usable Parquet file"),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_file_is_refused_or_read_but_never_stops_the_worker() {
    let (folder, environment) = written(HUB, &rows());
    let path = folder.path().join("train.parquet");
    let whole = fs::read(&path).unwrap();
    for place in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0xff;
        fs::write(&path, &damaged).unwrap();
        if let Err(error) = load_train(&environment) {
            assert!(!error.is_fault_of_job() && error.to_string().len() < 2000, "{error}");
        }
    }
}

#[test]
fn what_takes_more_memory_than_there_is_is_refused() {
    let (folder, mut environment) = written(HUB, &rows());
    environment.memory_limit = 10 * (48 + 4);
    assert!(load_train(&environment).is_ok());
    environment.memory_limit -= 1;
    let error = load_train(&environment).err().unwrap().to_string();
    assert_eq!(error, "the data set takes 520 bytes in memory, this worker's limit is 519");
    // A page that is much larger than its compressed form.
    let mut bomb = rows();
    bomb[2].0 = Some(vec![0; 1 << 20]);
    write(&folder.path().join("train.parquet"), HUB, Compression::SNAPPY, 3, &bomb);
    let error = load_train(&environment).err().unwrap().to_string();
    assert!(error.contains("column \"img\": a page of") && error.contains("limit is 519"), "{error}");
}

#[test]
fn columns_nested_too_deeply_are_refused() {
    let (folder, environment) = data_folder();
    let groups = "optional group g { ".repeat(100);
    let schema = format!(
        "message schema {{ optional binary image; {groups} optional binary path; {} optional int64 label; }}",
        "}".repeat(100)
    );
    write(&folder.path().join("train.parquet"), &schema, Compression::SNAPPY, 3, &[]);
    let error = load_train(&environment).err().unwrap().to_string();
    assert!(error.contains("columns in more than 32 groups within each other"), "{error}");
}

#[test]
fn pages_are_charged_as_long_as_their_images_are_needed() {
    // Each image stands in a dictionary of its own group, and all of them together exceed the limit.
    let (folder, mut environment) = data_folder();
    let rows: Vec<Row> = (0..40).map(|sample| row(sample % 4)).collect();
    write(&folder.path().join("train.parquet"), HUB, Compression::SNAPPY, 2, &rows);
    environment.memory_limit = 40 * (48 + 4);
    assert_eq!(load_train(&environment).unwrap().description().train_samples, 40);
}
