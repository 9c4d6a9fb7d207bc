//! Pixels without a format of images: IDX files, and lists of numbers in Parquet.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lookbehind_data_fixtures::table_file::{Table, Values};
use serde_json::json;

use super::check;
use crate::{Sample, data_folder};

fn value(row: usize, place: usize) -> u8 {
    (row * 91 + place * 13 + row * place) as u8
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_variant_of_pixels_gives_the_same_samples() {
    let (folder, environment) = data_folder();
    let root = folder.path();
    let mut variants = 0;
    for (height, width, rows) in [(1, 1, 2), (2, 3, 5), (4, 4, 8), (5, 1, 3), (8, 8, 20)] {
        let size = height * width;
        let labels: Vec<u8> = (0..rows).map(|row| (row % 3) as u8).collect();
        let pixels: Vec<u8> =
            (0..rows).flat_map(|row| (0..size).map(move |place| value(row, place))).collect();
        let expected: Vec<Sample> = pixels
            .chunks(size)
            .zip(&labels)
            .map(|(image, &label)| {
                (image.iter().map(|&pixel| f32::from(pixel) / 255.0).collect(), u32::from(label))
            })
            .collect();
        let extent = |extent: usize| (extent as u32).to_be_bytes();
        let images = [&[0, 0, 8, 3][..], &extent(rows), &extent(height), &extent(width), &pixels].concat();
        let classes = [&[0, 0, 8, 1][..], &extent(rows), &labels].concat();
        for (of_images, of_labels) in [(false, false), (true, false), (false, true), (true, true)] {
            let packed = |bytes: &[u8], packed: bool| if packed { gzip(bytes) } else { bytes.to_vec() };
            for (images_name, labels_name) in
                [("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), ("x", "y")]
            {
                fs::write(root.join(images_name), packed(&images, of_images)).unwrap();
                fs::write(root.join(labels_name), packed(&classes, of_labels)).unwrap();
                let pair = json!({ "images": images_name, "labels": labels_name });
                let variant = format!("idx {height} × {width}, {of_images} {of_labels}");
                check("idx", &json!({ "train": pair }), &environment, &expected, &variant);
                variants += 1;
            }
        }
        let values: Vec<Vec<i32>> =
            pixels.chunks(size).map(|image| image.iter().map(|&pixel| i32::from(pixel)).collect()).collect();
        for lengths in [vec![size], vec![height, width], vec![1, height, width], vec![height, width, 1]] {
            let label = Values::Int("", labels.iter().map(|&label| Some(i32::from(label))).collect());
            let columns = vec![("image", Values::Pixels(lengths.clone(), values.clone())), ("label", label)];
            for (second, page) in [(false, 1000), (true, 1000), (true, 2)] {
                Table { second, page, ..Table::new(columns.clone()) }.write(&root.join("train.parquet"));
                let parameters = json!({ "train": "train.parquet", "shape": [height, width] });
                let variant = format!("{lengths:?}, second {second}, page {page}");
                check("parquet", &parameters, &environment, &expected, &variant);
                variants += 1;
            }
        }
    }
    assert_eq!(variants, 5 * (8 + 12));
}
