//! Tables in Parquet: encodings, compressions, versions of pages, types of numbers and of labels, missing values.

use lookbehind_data_fixtures::table_file::{Table, Values};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use serde_json::json;

use super::check;
use crate::{Sample, data_folder};

const ROWS: usize = 48;

fn class(row: usize) -> usize {
    row * row % 3
}

/// A small number that every type holds, some of them missing.
fn number(row: usize) -> Option<i32> {
    (row % 5 != 4).then_some((row * 7 % 11) as i32)
}

fn numbers(kind: usize) -> Values {
    let of = |convert: fn(i32) -> i32| (0..ROWS).map(|row| number(row).map(convert)).collect::<Vec<_>>();
    match kind {
        0 => Values::Int("", of(|number| number)),
        1 => Values::Int("(DECIMAL(9,1))", of(|number| number * 10)),
        2 => Values::Long(
            "(INTEGER(64,false))",
            of(|number| number).iter().map(|n| n.map(i64::from)).collect(),
        ),
        3 => Values::Float(of(|number| number).iter().map(|n| n.map(|n| n as f32)).collect()),
        _ => Values::Double(of(|number| number).iter().map(|n| n.map(f64::from)).collect()),
    }
}

fn labels(kind: usize) -> Values {
    let all = (0..ROWS).map(class);
    match kind {
        0 => Values::Long("", all.map(|class| Some(class as i64)).collect()),
        1 => Values::Text(all.map(|class| Some(["ant", "bee", "cat"][class])).collect()),
        2 => Values::Double(all.map(|class| Some(class as f64)).collect()),
        _ => Values::Int("(INTEGER(8,true))", all.map(|class| Some(class as i32)).collect()),
    }
}

#[test]
fn every_variant_of_a_table_gives_the_same_samples() {
    let expected: Vec<Sample> = (0..ROWS)
        .map(|row| {
            (vec![number(row).map_or(-1.0, |number| number as f32), row as f32 % 4.0], class(row) as u32)
        })
        .collect();
    let encodings = [
        None,
        Some(Encoding::PLAIN),
        Some(Encoding::DELTA_BINARY_PACKED),
        Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
        Some(Encoding::DELTA_BYTE_ARRAY),
        Some(Encoding::BYTE_STREAM_SPLIT),
    ];
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    let (folder, environment) = data_folder();
    let mut variants = 0;
    for (encoding, compression) in encodings.into_iter().flat_map(|e| compressions.map(|c| (e, c))) {
        for second in [false, true] {
            for kind in 0..5 {
                let plain = Values::Float((0..ROWS).map(|row| Some(row as f32 % 4.0)).collect());
                let columns = vec![("x", numbers(kind)), ("label", labels(kind % 4)), ("y", plain)];
                let page = [7, 1000][kind % 2];
                let table = Table { encoding, compression, second, page, ..Table::new(columns) };
                table.write(&folder.path().join("train.parquet"));
                let parameters = json!({ "train": "train.parquet", "missing": -1 });
                let variant = format!("{encoding:?}, {compression}, second {second}, {kind}");
                check("parquet", &parameters, &environment, &expected, &variant);
                variants += 1;
            }
        }
    }
    assert_eq!(variants, 360);
}
