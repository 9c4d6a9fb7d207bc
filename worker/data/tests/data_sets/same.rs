//! One data set in every format has the same content, so that workers may have it in different ones.

use std::fs;
use std::path::Path;

use lookbehind_data_fixtures::images::{jpeg, png};
use lookbehind_data_fixtures::table_file::{Table, Values};
use serde_json::json;

use super::{data_folder, load, samples};

const NAMES: [&str; 3] = ["ant", "bee", "cat"];

/// A picture of a class, as PNG or JPEG, and the name of its file.
fn picture(class: usize, number: usize) -> (String, Vec<u8>) {
    let pixels: Vec<u8> = (0..8 * 8 * 3).map(|place| (place * 5 + class * 60 + number * 17) as u8).collect();
    if number.is_multiple_of(2) {
        (format!("{number}.png"), png(8, 8, 3, &pixels))
    } else {
        (format!("{number}.jpg"), jpeg(8, 8, 3, &pixels, 2))
    }
}

/// Writes the pictures as a folder, as Parquet of three kinds, and as tables that name them.
fn write(root: &Path) {
    let (mut files, mut labels, mut paths, mut table) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    for (class, name) in NAMES.iter().enumerate() {
        fs::create_dir_all(root.join("train").join(name)).unwrap();
        for number in 0..4 {
            let (file, bytes) = picture(class, number);
            let path = format!("{name}/{file}");
            fs::write(root.join("train").join(&path), &bytes).unwrap();
            table += &format!("{path},{name}\n");
            paths.push(Some(&*path.leak()));
            files.push(Some(bytes));
            labels.push(Some(*name));
        }
    }
    fs::write(root.join("train/train.csv"), format!("path,label\n{table}")).unwrap();
    let numbers = (0..12).map(|place| Some(place / 4)).collect();
    let feature = json!({ "names": NAMES, "_type": "ClassLabel" });
    let info = json!({ "info": { "features": { "label": feature } } }).to_string();
    let hub = Table::new(vec![("image", Values::Files(files.clone())), ("label", Values::Long("", numbers))]);
    Table { metadata: vec![("huggingface".to_owned(), info)], ..hub }.write(&root.join("hub.parquet"));
    let binary = Values::Binary(files.clone());
    Table::new(vec![("image", binary), ("label", Values::Text(labels.clone()))])
        .write(&root.join("binary.parquet"));
    let lists = Values::Lists(files.into_iter().map(|file| file.into_iter().collect()).collect());
    Table::new(vec![("image", lists), ("label", Values::Text(labels.clone()))])
        .write(&root.join("lists.parquet"));
    let named = Table::new(vec![("image", Values::Text(paths)), ("label", Values::Text(labels))]);
    named.write(&root.join("named.parquet"));
}

#[test]
fn a_data_set_of_images_has_one_fingerprint_in_every_format() {
    let (folder, environment) = data_folder();
    write(folder.path());
    let reference = load("folder", &json!({ "train": "train" }), &environment).unwrap();
    assert_eq!(reference.description().train_samples, 12);
    for (kind, parameters) in [
        ("csv", json!({ "train": "train/train.csv", "image": "path" })),
        ("csv", json!({ "train": "train/train.csv", "image": "path", "root": "train" })),
        ("parquet", json!({ "train": "hub.parquet" })),
        ("parquet", json!({ "train": "binary.parquet" })),
        ("parquet", json!({ "train": "lists.parquet" })),
        ("parquet", json!({ "train": "named.parquet", "root": "train" })),
    ] {
        let data =
            load(kind, &parameters, &environment).unwrap_or_else(|error| panic!("{parameters}: {error}"));
        assert_eq!(data.description(), reference.description(), "{parameters}");
        assert_eq!(data.report().class_names, NAMES, "{parameters}");
        assert_eq!(samples(data.as_ref()), samples(reference.as_ref()), "{parameters}");
    }
}

#[test]
fn a_data_set_of_images_has_one_index_in_every_format() {
    let (folder, environment) = data_folder();
    write(folder.path());
    let in_memory = load("folder", &json!({ "train": "train" }), &environment).unwrap();
    for fingerprint in ["index", "pixels"] {
        let load = |kind: &str, mut parameters: serde_json::Value| {
            parameters["loading"] = "indexed".into();
            parameters["fingerprint"] = fingerprint.into();
            load(kind, &parameters, &environment).unwrap_or_else(|error| panic!("{parameters}: {error}"))
        };
        let reference = load("folder", json!({ "train": "train" }));
        let same = reference.description() == in_memory.description();
        assert_eq!(same, fingerprint == "pixels", "only pixels are the same in memory");
        for (kind, parameters) in [
            ("csv", json!({ "train": "train/train.csv", "image": "path" })),
            ("parquet", json!({ "train": "hub.parquet" })),
            ("parquet", json!({ "train": "binary.parquet" })),
            ("parquet", json!({ "train": "named.parquet", "root": "train" })),
        ] {
            let data = load(kind, parameters);
            assert_eq!(data.description(), reference.description(), "{kind}");
            assert_eq!(data.report().class_names, NAMES, "{kind}");
            assert_eq!(samples(data.as_ref()), samples(in_memory.as_ref()), "{kind}");
        }
    }
}

#[test]
fn one_pixel_makes_another_fingerprint() {
    let (folder, environment) = data_folder();
    write(folder.path());
    let load = || load("csv", &json!({ "train": "train/train.csv", "image": "path" }), &environment).unwrap();
    let before = load();
    let mut pixels: Vec<u8> = (0..8 * 8 * 3).map(|place| (place * 5) as u8).collect();
    pixels[100] ^= 1;
    fs::write(folder.path().join("train/ant/0.png"), png(8, 8, 3, &pixels)).unwrap();
    assert_ne!(load().description().fingerprint, before.description().fingerprint);
}

#[test]
fn a_table_of_numbers_has_one_fingerprint_in_every_format() {
    let (folder, environment) = data_folder();
    let rows = 40_i64;
    let mut text = "a,b,c,label\n".to_owned();
    for row in 0..rows {
        let (a, b) = (row as f64 * 0.37 - 3.0, row * row % 19);
        text += &format!("{a},{b},{},{}\n", row % 3 == 0, NAMES[row as usize % 3]);
    }
    fs::write(folder.path().join("train.csv"), text).unwrap();
    Table::new(vec![
        ("a", Values::Double((0..rows).map(|row| Some(row as f64 * 0.37 - 3.0)).collect())),
        ("b", Values::Int("", (0..rows).map(|row| Some((row * row % 19) as i32)).collect())),
        ("c", Values::Truth((0..rows).map(|row| Some(row % 3 == 0)).collect())),
        ("label", Values::Text((0..rows).map(|row| Some(NAMES[row as usize % 3])).collect())),
    ])
    .write(&folder.path().join("train.parquet"));
    let of_csv = load("csv", &json!({ "train": "train.csv" }), &environment).unwrap();
    let of_parquet = load("parquet", &json!({ "train": "train.parquet" }), &environment).unwrap();
    assert_eq!(of_csv.description(), of_parquet.description());
    assert_eq!(of_csv.report(), of_parquet.report());
}
