use serde_json::{Value, json};

use super::*;
use crate::input_spec_with_options;
use crate::test_support::parameters;
use lookbehind_common::job::{JobError, Parameters};

fn input_spec(kind: &str, given: Value) -> Result<Option<(Vec<usize>, usize)>, String> {
    let of_kind: fn(&Parameters) -> Result<Option<InputSpec>, JobError> = match kind {
        "cifar10" => cifar10,
        "cifar100" => cifar100,
        "csv" => csv,
        "digits" => digits,
        "folder" => folder,
        "idx" => idx,
        "parquet" => parquet,
        "safetensors" => safetensors,
        "webdataset" => webdataset,
        _ => panic!("no data set of the kind {kind:?}"),
    };
    let input_spec =
        input_spec_with_options(&parameters(given), of_kind).map_err(|error| error.to_string())?;
    Ok(input_spec.map(|InputSpec { input_shape, classes }| (input_shape, classes)))
}

#[test]
fn samples_are_known_where_kind_or_keys_say_what_they_are() {
    let resized = json!({ "train": "a", "resize": [4, 6], "channels": 3, "classes": 7 });
    let pair = json!({ "images": "a", "labels": "b" });
    for (kind, given, expected) in [
        ("digits", json!({}), Some((vec![8, 8], 10))),
        ("cifar10", json!({}), Some((vec![3, 32, 32], 10))),
        ("cifar100", json!({ "labels": "coarse" }), Some((vec![3, 32, 32], 20))),
        ("cifar100", json!({ "resize": [8, 16], "channels": 1 }), Some((vec![1, 8, 16], 100))),
        ("parquet", resized.clone(), Some((vec![3, 4, 6], 7))),
        ("webdataset", resized, Some((vec![3, 4, 6], 7))),
        ("parquet", json!({ "train": "a", "resize": [4, 6], "classes": 7 }), None),
        ("idx", json!({ "train": pair, "resize": [4, 6], "classes": 7 }), Some((vec![1, 4, 6], 7))),
        ("idx", json!({ "classes": 7 }), None),
        ("csv", json!({ "train": "a", "shape": [2, 3], "classes": 7 }), Some((vec![2, 3], 7))),
        ("csv", json!({ "train": "a", "columns": ["x", "y"], "classes": 7 }), Some((vec![2], 7))),
        ("csv", json!({ "train": "a", "shape": [2, 3] }), None),
        ("folder", json!({ "train": "a", "resize": [4, 6], "channels": 3 }), None),
        ("safetensors", json!({ "train": "a", "classes": 7 }), None),
    ] {
        assert_eq!(input_spec(kind, given.clone()), Ok(expected), "{kind} {given}");
    }
}

#[test]
fn keys_are_checked_as_they_are_with_the_data() {
    for (kind, given, expected) in [
        ("digits", json!({ "train": "a" }), "data.train: unknown field"),
        ("cifar10", json!({ "labels": "fine" }), "data.labels: cifar10 has one label"),
        ("cifar10", json!({ "resize": [0, 1] }), "data.resize: expected"),
        ("cifar100", json!({ "test": "a" }), "data.train: is required"),
        (
            "idx",
            json!({ "folder": "a", "train": { "images": "a", "labels": "b" } }),
            "data.folder: has no meaning",
        ),
        ("parquet", json!({ "train": "a", "classes": 0 }), "data.classes: expected 1 to"),
        ("csv", json!({}), "data: missing field `train`"),
        (
            "csv",
            json!({ "train": "a", "shape": [3], "columns": ["x", "y"] }),
            "data.shape: expected a shape of 2",
        ),
        ("csv", json!({ "train": "a", "shape": [3, 0] }), "data.shape: expected a shape of 1 to"),
        (
            "csv",
            json!({ "train": "a", "shape": [1_u64 << 40, 1_u64 << 40] }),
            "data.shape: expected a shape of 1 to",
        ),
        ("csv", json!({ "train": "a", "columns": [] }), "data.columns: expected at least one"),
        ("folder", json!({ "train": "a", "channels": 2 }), "data.channels: expected 1 or 3"),
        ("safetensors", json!({ "train": "a", "resize": [1, 1] }), "data.resize: unknown field"),
        ("digits", json!({ "label_smoothing": 1.0 }), "data.label_smoothing"),
        ("digits", json!({ "augment": { "cutout": 9 } }), "data.augment.cutout: expected at most"),
        (
            "digits",
            json!({ "augment": { "cutmix": -1.0 } }),
            "data.augment.cutmix: expected 0 or a number from",
        ),
        (
            "digits",
            json!({ "augment": { "random_erasing": 1.5 } }),
            "data.augment.random_erasing: expected a",
        ),
        (
            "digits",
            json!({ "augment": { "color_jitter": { "hue": 0.7 } } }),
            "data.augment.color_jitter.hue: expected a part",
        ),
        (
            "digits",
            json!({ "augment": { "random_resized_crop": { "scale": [0.5, 0.1] } } }),
            "data.augment.random_resized_crop.scale: expected two rising shares",
        ),
        (
            "safetensors",
            json!({ "train": "a", "augment": { "colour": 1 } }),
            "data.augment.colour: unknown field",
        ),
        ("webdataset", json!({ "train": "a", "lable": "cls" }), "data.lable: unknown field"),
    ] {
        let error = input_spec(kind, given.clone()).unwrap_err();
        assert!(error.starts_with(expected), "{kind} {given}: {error}\nexpected {expected}");
    }
}

#[test]
fn the_embedded_data_is_what_its_outline_says() {
    let (_folder, environment) = crate::test_support::data_folder();
    let data = crate::digits(&Parameters::new(), &environment).unwrap();
    let DataDescription { input_shape, classes, .. } = data.description().clone();
    assert_eq!(digits(&Parameters::new()).unwrap(), Some(InputSpec { input_shape, classes }));
}
