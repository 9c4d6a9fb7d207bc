//! Images: kinds of files in folders, in columns of Parquet, and as files that tables name.

use std::fs;

use lookbehind_data_fixtures::images::{png, png16};
use lookbehind_data_fixtures::table_file::{Table, Values};
use parquet::basic::{Compression, Encoding};
use serde_json::{Value, json};

use super::check;
use crate::{Sample, data_folder};

const NAMES: [&str; 3] = ["ant", "bee", "cat"];
/// Kinds of PNG: channels, and bits of a value.
const KINDS: [(usize, usize); 6] = [(1, 8), (2, 8), (3, 8), (4, 8), (1, 16), (3, 16)];
const SIDE: usize = 2;

/// The value of a pixel in a channel.
fn value(class: usize, number: usize, pixel: usize, channel: usize) -> usize {
    (class * 70 + number * 31 + pixel * 11 + channel * 5) % 256
}

/// An image, and its values as a model gets them.
fn image(kind: (usize, usize), class: usize, number: usize) -> (Vec<u8>, Vec<f32>) {
    let (channels, bits) = kind;
    let stored: Vec<usize> = (0..SIDE * SIDE)
        .flat_map(|pixel| (0..channels).map(move |channel| value(class, number, pixel, channel)))
        .collect();
    // Opacity is dropped.
    let seen = if channels < 3 { 1 } else { 3 };
    let planes = |of: &dyn Fn(usize) -> f32| {
        let values = (0..seen).flat_map(|channel| (0..SIDE * SIDE).map(move |pixel| (pixel, channel)));
        values.map(|(pixel, channel)| of(value(class, number, pixel, channel))).collect::<Vec<f32>>()
    };
    if bits == 8 {
        let bytes: Vec<u8> = stored.iter().map(|&value| value as u8).collect();
        (png(SIDE, SIDE, channels, &bytes), planes(&|value| value as f32 / 255.0))
    } else {
        let wide = |value: usize| (value * 200 + 7) as u16;
        let words: Vec<u16> = stored.iter().map(|&value| wide(value)).collect();
        (png16(SIDE, SIDE, channels, &words), planes(&|value| f32::from(wide(value)) / 65_535.0))
    }
}

#[test]
fn every_variant_of_a_set_of_images_gives_the_same_samples() {
    let mut variants = 0;
    for kind in KINDS {
        let (folder, environment) = data_folder();
        let root = folder.path();
        let (mut expected, mut files, mut paths, mut labels) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut rows = String::new();
        for (class, name) in NAMES.iter().enumerate() {
            fs::create_dir_all(root.join("set").join(name)).unwrap();
            for number in 0..2 {
                let (bytes, inputs) = image(kind, class, number);
                let path = format!("{name}/{number}.png");
                fs::write(root.join("set").join(&path), &bytes).unwrap();
                rows += &format!("{path},{name},{class}\n");
                expected.push((inputs, class as u32) as Sample);
                files.push(Some(bytes));
                paths.push(Some(&*path.leak()));
                labels.push(class);
            }
        }
        let mut check = |kind: &str, parameters: Value| {
            let variant = format!("{kind} {parameters}");
            check(kind, &parameters, &environment, &expected, &variant);
            variants += 1;
        };
        check("folder", json!({ "train": "set" }));
        for (label, header) in [("name", true), ("class", true), ("1", false), ("2", false)] {
            let text = if header { format!("path,name,class\n{rows}") } else { rows.clone() };
            let column = if header { "path" } else { "0" };
            for (file, more) in [("set/a.csv", json!({})), ("b.csv", json!({ "root": "set" }))] {
                fs::write(root.join(file), &text).unwrap();
                let mut parameters =
                    json!({ "train": file, "image": column, "label": label, "header": header });
                parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                check("csv", parameters);
            }
        }
        let label_columns = [
            Values::Long("", labels.iter().map(|&class| Some(class as i64)).collect()),
            Values::Text(labels.iter().map(|&class| Some(NAMES[class])).collect()),
            Values::Float(labels.iter().map(|&class| Some(class as f32)).collect()),
        ];
        let lists = Values::Lists(files.iter().flatten().map(|file| vec![file.clone()]).collect());
        let images = [Values::Files(files.clone()), Values::Binary(files), lists, Values::Text(paths)];
        for (images, labels) in
            images.iter().flat_map(|images| label_columns.iter().map(move |l| (images, l)))
        {
            for encoding in [None, Some(Encoding::PLAIN), Some(Encoding::DELTA_BYTE_ARRAY)] {
                let columns = vec![("img", images.clone()), ("label", labels.clone())];
                Table { encoding, compression: Compression::LZ4_RAW, page: 2, ..Table::new(columns) }
                    .write(&root.join("train.parquet"));
                let root = matches!(images, Values::Text(_)).then_some("set");
                let parameters = match root {
                    Some(root) => json!({ "train": "train.parquet", "root": root }),
                    None => json!({ "train": "train.parquet" }),
                };
                check("parquet", parameters);
            }
        }
    }
    assert_eq!(variants, 6 * (1 + 8 + 36));
}
