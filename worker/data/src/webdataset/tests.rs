use std::fs;

use lookbehind_data_fixtures::images::png;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::SampleContext;
use crate::test_support::{data_folder, parameters};

fn tar_of(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn grey(value: u8) -> Vec<u8> {
    png(1, 1, 1, &[value])
}

/// Two shards of two samples and one.
fn shards() -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    let first = tar_of(&[
        ("0000.png", grey(10)),
        ("0000.cls", b"1\n".to_vec()),
        ("0000.json", b"{\"label\": 2, \"name\": \"a\"}".to_vec()),
        ("._0001.png", b"of a system".to_vec()),
        ("0001.cls", b"0".to_vec()),
        ("0001.json", b"{\"label\": 0}".to_vec()),
        ("0001.PNG", grey(20)),
    ]);
    let second = tar_of(&[
        ("d/0002.cls", b"2".to_vec()),
        ("d/0002.json", b"{\"label\": 1}".to_vec()),
        ("d/0002.seg.png", grey(30)),
    ]);
    fs::write(folder.path().join("s-00.tar"), first).unwrap();
    fs::write(folder.path().join("s-01.tar"), zstd::encode_all(second.as_slice(), 1).unwrap()).unwrap();
    (folder, environment)
}

fn load_given(environment: &DataEnvironment, given: Value) -> Result<Vec<(u32, u8)>, String> {
    let data = webdataset(&parameters(given), environment).map_err(|error| error.to_string())?;
    let samples: Vec<u64> = (0..data.description().train_samples).collect();
    let batch = data.batch(Split::Train, &samples, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let pixels = batch.inputs.iter().map(|value| (value * 255.0).round() as u8);
    Ok(batch.targets.iter().map(|target| target.class).zip(pixels).collect())
}

#[test]
fn samples_follow_shards_and_members_and_labels_are_of_either_kind() {
    let (_folder, environment) = shards();
    for train in [json!("s-{00..01}.tar"), json!("s-*.tar"), json!(["s-00.tar", "s-01.tar"])] {
        let found = load_given(&environment, json!({ "train": train })).unwrap();
        assert_eq!(found, [(1, 10), (0, 20), (2, 30)]);
    }
    let found =
        load_given(&environment, json!({ "train": "s-{00..01}.tar", "label": "json.label" })).unwrap();
    assert_eq!(found, [(2, 10), (0, 20), (1, 30)]);
}

#[test]
fn what_a_sample_lacks_is_said_with_what_it_has() {
    let (folder, environment) = data_folder();
    for (members, given, expected) in [
        (
            vec![("7.jpg", grey(1)), ("7.txt", vec![])],
            json!({}),
            "its member \"7\" has no member .cls with its label; there are .jpg, .txt",
        ),
        (vec![("7.cls", b"1".to_vec())], json!({}), "its member \"7\" has no image; there are .cls"),
        (
            vec![("7.cls", b"cat".to_vec()), ("7.png", grey(1))],
            json!({}),
            "7.cls: found \"cat\", expected a whole number, the class",
        ),
        (
            vec![("7.cls", b"5".to_vec()), ("7.png", grey(1))],
            json!({ "classes": 5 }),
            "7.cls: found 5, expected a class from 0 to 4",
        ),
        (
            vec![("7.json", b"{\"id\": 3}".to_vec()), ("7.png", grey(1))],
            json!({ "label": "json.label" }),
            "7.json: found the keys \"id\", expected the key \"label\"",
        ),
        (
            vec![("7.a.png", grey(1)), ("7.b.png", grey(1)), ("7.cls", b"0".to_vec())],
            json!({}),
            "has two images, .a.png and .b.png: image = \"b.png\" says which is meant",
        ),
        (vec![("7.cls", b"0".to_vec()), ("7.png", b"text".to_vec())], json!({}), "7.png: it begins with"),
    ] {
        fs::write(folder.path().join("a.tar"), tar_of(&members)).unwrap();
        let mut given = given;
        given["train"] = "a.tar".into();
        let error = load_given(&environment, given).unwrap_err();
        assert!(error.starts_with("data file \"a.tar\": ") && error.contains(expected), "{error}");
    }
}
