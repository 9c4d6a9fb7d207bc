//! Tables and images in Parquet as people and programs write them.

use ::parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use lookbehind_data_fixtures::images::png;
use lookbehind_data_fixtures::table_file::{Table, Values};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::test_support::{data_folder, parameters};
use crate::{DataEnvironment, DataError, DataReport, Dataset, SampleContext, Split, csv, parquet};

type Sample = (Vec<f32>, u32);

fn written(table: &Table) -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    table.write(&folder.path().join("train.parquet"));
    (folder, environment)
}

fn samples(data: &dyn Dataset) -> Vec<Sample> {
    let all: Vec<u64> = (0..data.description().train_samples).collect();
    let batch = data.batch(Split::Train, &all, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let inputs = batch.inputs.chunks(data.description().input_size()).map(<[f32]>::to_vec);
    inputs.zip(batch.targets.iter().map(|target| target.class)).collect()
}

fn given(more: Value) -> Value {
    let mut all = json!({ "train": "train.parquet" });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

fn read(table: &Table, more: Value) -> Result<(Vec<Sample>, DataReport), String> {
    let (_folder, environment) = written(table);
    let data = parquet(&parameters(given(more)), &environment).map_err(|error| error.to_string())?;
    Ok((samples(data.as_ref()), data.report()))
}

fn refused(table: &Table, more: Value) -> String {
    match read(table, more) {
        Ok((samples, _)) => panic!("accepted: {samples:?}"),
        Err(error) => error,
    }
}

fn found(report: &DataReport) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

fn long(values: &[i64]) -> Values {
    Values::Long("", values.iter().copied().map(Some).collect())
}

fn double(values: &[f64]) -> Values {
    Values::Double(values.iter().copied().map(Some).collect())
}

fn text(values: &[&'static str]) -> Values {
    Values::Text(values.iter().copied().map(Some).collect())
}

/// Two inputs and a label.
fn table() -> Table {
    Table::new(vec![("a", double(&[1.5, 3.0])), ("b", long(&[-2, 4])), ("label", long(&[0, 1]))])
}

fn picture(label: usize) -> Vec<u8> {
    png(2, 2, 1, &[label as u8 * 40, 1, 2, 3])
}

#[test]
fn a_table_gives_the_same_data_as_in_csv() {
    let (folder, environment) = written(&table());
    std::fs::write(folder.path().join("train.csv"), "a,b,label\n1.5,-2,0\n3,4,1\n").unwrap();
    let of_csv = csv(&parameters(json!({ "train": "train.csv" })), &environment).unwrap();
    let data = parquet(&parameters(given(json!({}))), &environment).unwrap();
    assert_eq!(data.description(), of_csv.description());
    assert_eq!(samples(data.as_ref()), [(vec![1.5, -2.0], 0), (vec![3.0, 4.0], 1)]);
}

#[test]
fn every_type_of_numbers_and_labels_is_read() {
    let expected = [(vec![1.0], 0), (vec![2.0], 1)];
    let ones = || Values::Float(vec![Some(1.0), Some(2.0)]);
    for column in [
        Values::Int("", vec![Some(1), Some(2)]),
        Values::Int("(INTEGER(8,false))", vec![Some(1), Some(2)]),
        Values::Int("(DECIMAL(5,2))", vec![Some(100), Some(200)]),
        Values::Long("(DECIMAL(15,1))", vec![Some(10), Some(20)]),
        Values::Long("(INTEGER(64,false))", vec![Some(1), Some(2)]),
        Values::Half(vec![Some([0x00, 0x3c]), Some([0x00, 0x40])]),
        Values::Double(vec![Some(1.0), Some(2.0)]),
        text(&["1", " 2.0 "]),
    ] {
        let table = Table::new(vec![("x", column), ("label", long(&[0, 1]))]);
        assert_eq!(read(&table, json!({})).unwrap().0, expected, "{table:?}");
    }
    for labels in [
        Values::Int("(INTEGER(8,true))", vec![Some(0), Some(1)]),
        Values::Float(vec![Some(0.0), Some(1.0)]),
        Values::Int("(DECIMAL(5,2))", vec![Some(0), Some(100)]),
        Values::Truth(vec![Some(false), Some(true)]),
        text(&["ant", "bee"]),
    ] {
        let table = Table::new(vec![("x", ones()), ("label", labels)]);
        assert_eq!(read(&table, json!({})).unwrap().0, expected, "{table:?}");
    }
    let table = Table::new(vec![("x", ones()), ("label", text(&["bee", "ant"]))]);
    let (samples, report) = read(&table, json!({})).unwrap();
    assert_eq!((samples[0].1, samples[1].1), (1, 0));
    assert_eq!(report.class_names, ["ant", "bee"]);
}

#[test]
fn every_encoding_and_compression_gives_the_same_samples() {
    let rows = 500_i64;
    let names = ["ant", "bee", "cat", "dog"];
    let columns = || {
        let of = |value: fn(i64) -> f64| (0..rows).map(|row| Some(value(row))).collect::<Vec<_>>();
        vec![
            ("double", Values::Double(of(|row| (row % 7) as f64 / 2.0))),
            ("float", Values::Float((0..rows).map(|row| Some((row * 3 % 11) as f32)).collect())),
            ("int", Values::Int("", (0..rows).map(|row| Some((row * row % 13) as i32)).collect())),
            ("long", Values::Long("", (0..rows).map(|row| Some(row * 1000 % 17)).collect())),
            ("truth", Values::Truth((0..rows).map(|row| Some(row % 3 == 0)).collect())),
            ("label", Values::Text((0..rows).map(|row| Some(names[row as usize % 4])).collect())),
        ]
    };
    let expected: Vec<Sample> = (0..rows)
        .map(|row| {
            let inputs = [
                (row % 7) as f32 / 2.0,
                (row * 3 % 11) as f32,
                (row * row % 13) as f32,
                (row * 1000 % 17) as f32,
                f32::from(u8::from(row % 3 == 0)),
            ];
            (inputs.to_vec(), row as u32 % 4)
        })
        .collect();
    let encodings = [
        None,
        Some(Encoding::PLAIN),
        Some(Encoding::RLE),
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
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for (encoding, compression) in encodings.into_iter().flat_map(|e| compressions.map(|c| (e, c))) {
        for second in [false, true] {
            let table = Table { encoding, compression, second, page: 64, ..Table::new(columns()) };
            let (samples, _) = read(&table, json!({})).unwrap_or_else(|error| panic!("{table:?}: {error}"));
            assert_eq!(samples, expected, "{encoding:?}, {compression}");
        }
    }
}

#[test]
fn a_compression_that_is_not_read_is_named() {
    // Written as gzip, and called LZO in the footer.
    let (folder, environment) =
        written(&Table { compression: Compression::GZIP(GzipLevel::default()), ..table() });
    let path = folder.path().join("train.parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    // Field 4 of a column's metadata, the codec, follows the path in the schema.
    let places: Vec<usize> = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, found)| *found == [0x15, 0x04, 0x16])
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 3);
    places.iter().for_each(|&place| bytes[place + 1] = 0x06);
    std::fs::write(&path, bytes).unwrap();
    let error = parquet(&parameters(given(json!({}))), &environment).err().unwrap().to_string();
    assert!(error.contains("column \"a\": found compression LZO"), "{error}");
    assert!(error.ends_with("expected none, Snappy, gzip, brotli, LZ4 or zstandard"), "{error}");
}

#[test]
fn missing_values_follow_the_policy_of_the_job() {
    let holes = || {
        Table::new(vec![
            ("a", Values::Double(vec![Some(1.0), None, Some(f64::NAN), None])),
            ("label", Values::Long("", vec![Some(0), Some(1), Some(1), None])),
        ])
    };
    let error = refused(&holes(), json!({}));
    assert!(
        error.contains("row 1, column \"a\": found null, expected a finite number; missing = \"skip\""),
        "{error}"
    );
    let (samples, report) = read(&holes(), json!({ "missing": "skip" })).unwrap();
    assert_eq!(samples, [(vec![1.0], 0)]);
    let expected = "left out of the training split: 2 rows with missing values (train.parquet, row 1, train.parquet, row 2)";
    assert_eq!(found(&report)[0], expected);
    assert!(found(&report)[1].contains("1 row without content (train.parquet, row 3)"), "{report:?}");
    let (samples, report) = read(&holes(), json!({ "missing": -1.0 })).unwrap();
    assert_eq!(samples, [(vec![1.0], 0), (vec![-1.0], 1), (vec![-1.0], 1)]);
    assert!(found(&report).contains(&"2 missing values were replaced".to_owned()), "{report:?}");
}

#[test]
fn texts_become_inputs_as_the_job_declares() {
    let table = Table::new(vec![
        ("size", text(&["small", "large", "small"])),
        ("colour", text(&["red", "blue", "red"])),
        ("label", long(&[0, 1, 0])),
    ]);
    let more = json!({ "one_hot": ["colour"], "ordinal": { "size": ["small", "large"] } });
    let expected = [(vec![0.0, 0.0, 1.0], 0), (vec![1.0, 1.0, 0.0], 1), (vec![0.0, 0.0, 1.0], 0)];
    assert_eq!(read(&table, more).unwrap().0, expected);
    let error = refused(&table, json!({}));
    assert!(error.contains("row 0, column \"size\": found \"small\", expected a finite number"), "{error}");
}

#[test]
fn columns_that_are_no_data_are_left_out_and_reported() {
    let rows: Vec<i64> = (0..20).collect();
    let labels: Vec<i64> = rows.iter().map(|row| row % 2).collect();
    let with = |name: &str| {
        let a = double(&labels.iter().map(|&label| label as f64).collect::<Vec<_>>());
        Table::new(vec![("a", a), (name, long(&rows)), ("label", long(&labels))])
    };
    let (samples, report) = read(&with("__index_level_0__"), json!({})).unwrap();
    assert_eq!(samples[1], (vec![1.0], 1));
    assert!(
        found(&report)[0].contains("1 column without a name (train.parquet, column 1 from 0)"),
        "{report:?}"
    );
    let mut table = with("id");
    let error = refused(&table, json!({}));
    assert!(error.contains("column \"id\": counts the rows"), "{error}");
    table.metadata = vec![("pandas".to_owned(), json!({ "index_columns": ["id"] }).to_string())];
    assert_eq!(read(&table, json!({})).unwrap().0[1], (vec![1.0], 1));
    // Named by the job, it is meant.
    assert_eq!(read(&table, json!({ "columns": ["id"] })).unwrap().0[3], (vec![3.0], 1));
}

#[test]
fn the_names_of_classes_stand_in_the_metadata_of_the_hub() {
    let feature = json!({ "names": ["ant", "bee", "cat"], "_type": "ClassLabel" });
    let info = json!({ "info": { "features": { "label": feature, "a": { "dtype": "float64", "_type": "Value" } } } });
    let named =
        |table: Table| Table { metadata: vec![("huggingface".to_owned(), info.to_string())], ..table };
    let (samples, report) = read(&named(table()), json!({})).unwrap();
    assert_eq!(samples[1].1, 1);
    assert_eq!(report.class_names, ["ant", "bee", "cat"]);
    assert_eq!(report.description.classes, 3, "also of a class without samples");
    let pictures = Values::Files((0..2).map(|label| Some(picture(label))).collect());
    let images = named(Table::new(vec![("image", pictures), ("label", long(&[2, 0]))]));
    assert_eq!(read(&images, json!({})).unwrap().1.class_names, ["ant", "bee", "cat"]);
    let wrong = named(Table::new(vec![("a", double(&[1.0])), ("label", long(&[3]))]));
    let error = refused(&wrong, json!({}));
    assert!(error.contains("row 0, column \"label\": found 3, expected a class from 0 to 2"), "{error}");
    let (folder, environment) = written(&named(table()));
    let other = info.to_string().replace("bee", "wasp");
    Table { metadata: vec![("huggingface".to_owned(), other)], ..table() }
        .write(&folder.path().join("b.parquet"));
    let both = json!({ "train": ["train.parquet", "b.parquet"] });
    let error = parquet(&parameters(both), &environment).err().unwrap().to_string();
    assert!(
        error.contains(
            "\"b.parquet\": column \"label\": found classes ant, wasp, cat, expected those of the first"
        ),
        "{error}"
    );
}

#[test]
fn columns_of_a_type_that_has_no_meaning_are_named_with_it() {
    let days = Values::Int("(DATE)", vec![Some(1), Some(2)]);
    let time = Values::Long("(TIMESTAMP(MILLIS,true))", vec![Some(1), Some(2)]);
    let list = Values::Pixels(vec![1], vec![vec![1], vec![0]]);
    for (column, expected) in [
        (days, "column \"x\": type DATE, expected numbers, truth values or texts"),
        (time, "column \"x\": type TIMESTAMP_MILLIS, expected numbers"),
        (
            list.clone(),
            "column \"x\": type list of INT32, expected numbers, truth values or texts; image = \"x\" reads images",
        ),
        (Values::Binary(vec![Some(vec![1]), None]), "column \"x\": type BYTE_ARRAY, expected numbers"),
    ] {
        let error = refused(&Table::new(vec![("x", column), ("label", long(&[0, 1]))]), json!({}));
        assert!(error.contains(expected), "{error}");
    }
    let pictures = Values::Files((0..2).map(|label| Some(picture(label))).collect());
    let error = refused(&Table::new(vec![("image", pictures), ("label", list)]), json!({}));
    assert!(
        error.contains("column \"label\": type list of INT32, expected whole numbers or texts"),
        "{error}"
    );
}

#[test]
fn a_list_of_one_image_is_that_image() {
    let labels = || ("label", text(&["bee", "ant"]));
    let one = Values::Lists(vec![vec![picture(0)], vec![picture(1)]]);
    let (samples, report) = read(&Table::new(vec![("image", one), labels()]), json!({})).unwrap();
    assert_eq!((samples[1].0[0], samples[1].1), (40.0 / 255.0, 0));
    assert_eq!(report.class_names, ["ant", "bee"]);
    let two = Values::Lists(vec![vec![picture(0)], vec![picture(0), picture(1)]]);
    let error = refused(&Table::new(vec![("image", two), labels()]), json!({}));
    assert!(error.contains("row 1, column \"image\": found a list of 2, expected one image"), "{error}");
    let none = Values::Lists(vec![vec![picture(0)], vec![]]);
    let error = refused(&Table::new(vec![("image", none), labels()]), json!({}));
    assert!(error.contains("row 1, column \"image\": found null, expected an image"), "{error}");
}

#[test]
fn lists_of_pixels_are_images_where_their_shape_is_clear() {
    let pixels: Vec<i32> = (0..12).collect();
    let of = |lengths: &[usize]| {
        let rows = vec![pixels.clone(), pixels.iter().map(|pixel| pixel + 100).collect()];
        Table::new(vec![("image", Values::Pixels(lengths.to_vec(), rows)), ("label", long(&[0, 1]))])
    };
    let plane = |shape: &[usize]| {
        let values: Vec<f32> = pixels.iter().map(|&pixel| pixel as f32 / 255.0).collect();
        (shape.to_vec(), values)
    };
    let interleaved: Vec<f32> =
        (0..3).flat_map(|channel| (0..4).map(move |pixel| (pixel * 3 + channel) as f32 / 255.0)).collect();
    for (lengths, more, (shape, values)) in [
        (vec![3, 4], json!({}), plane(&[1, 3, 4])),
        (vec![2, 2, 3], json!({}), (vec![3, 2, 2], interleaved.clone())),
        (vec![3, 2, 2], json!({}), plane(&[3, 2, 2])),
        (vec![1, 3, 4], json!({}), plane(&[1, 3, 4])),
        (vec![12], json!({ "shape": [4, 3] }), plane(&[1, 4, 3])),
        (vec![12], json!({ "shape": [3, 2, 2] }), plane(&[3, 2, 2])),
        (vec![1, 4, 3], json!({ "shape": [1, 4, 3] }), plane(&[1, 4, 3])),
    ] {
        let (samples, report) = read(&of(&lengths), more).unwrap();
        assert_eq!((report.description.input_shape, &samples[0].0), (shape, &values), "{lengths:?}");
        assert_eq!(samples[1].0[0], 100.0 / 255.0);
    }
    for (lengths, more, expected) in [
        (
            vec![12],
            json!({}),
            "row 0, column \"image\": found pixels in lists of the lengths [12], expected lists of",
        ),
        (vec![1, 4, 3], json!({}), "found pixels in lists of the lengths [1, 4, 3], expected lists of"),
        (vec![12], json!({ "shape": [5, 5] }), "expected as many as data.shape = [5, 5] says"),
    ] {
        let error = refused(&of(&lengths), more);
        assert!(error.contains(expected), "{error}");
    }
    let mut bright = of(&[3, 4]);
    bright.columns[0].1 = Values::Pixels(vec![3, 4], vec![pixels.clone(), vec![300; 12]]);
    let error = refused(&bright, json!({}));
    assert!(
        error.contains("row 1, column \"image\": found 300, expected a whole number from 0 to 255"),
        "{error}"
    );
}

#[test]
fn lists_that_unpack_to_more_than_there_is_room_for_are_refused() {
    // Two million equal pixels take a few bytes in the file.
    let pixels = Values::Pixels(vec![2_000_000], vec![vec![7; 2_000_000]]);
    let (folder, mut environment) = written(&Table::new(vec![("image", pixels), ("label", long(&[0]))]));
    assert!(std::fs::metadata(folder.path().join("train.parquet")).unwrap().len() < 2000);
    environment.memory_limit = 4 << 20;
    let more = given(json!({ "shape": [1000, 2000] }));
    let error = parquet(&parameters(more.clone()), &environment).err().unwrap();
    assert!(matches!(error, DataError::Memory { .. }), "{error}");
    environment.memory_limit = 1 << 30;
    assert_eq!(parquet(&parameters(more), &environment).unwrap().description().input_shape, [1, 1000, 2000]);
}

#[test]
fn texts_that_share_their_beginnings_are_charged_as_they_are_put_together() {
    // Each text of a hundred kilobytes takes a few bytes in the file, but not in memory.
    let long_text: &'static str = "x".repeat(100_000).leak();
    let texts = || Values::Text(vec![Some(long_text); 600]);
    let numbers = || double(&(0..600).map(|row| f64::from(row % 7)).collect::<Vec<_>>());
    let columns = vec![("a", numbers()), ("kind", texts()), ("name", texts()), ("label", long(&[0; 600]))];
    let table = Table { encoding: Some(Encoding::DELTA_BYTE_ARRAY), ..Table::new(columns) };
    let (_folder, mut environment) = written(&table);
    environment.memory_limit = 1 << 20;
    let more = given(json!({ "one_hot": ["kind", "name"], "classes": 1 }));
    // The second column of texts is read for as many rows as the first one had in eight megabytes.
    assert_eq!(parquet(&parameters(more), &environment).unwrap().description().input_shape, [3]);
}

#[test]
fn a_column_of_names_of_files_is_read_from_them() {
    let table = Table::new(vec![("image", text(&["a.png", "sub/b.png"])), ("label", text(&["x", "y"]))]);
    let (folder, environment) = written(&table);
    std::fs::create_dir_all(folder.path().join("pictures/sub")).unwrap();
    std::fs::write(folder.path().join("pictures/a.png"), picture(0)).unwrap();
    std::fs::write(folder.path().join("pictures/sub/b.png"), picture(1)).unwrap();
    let data = parquet(&parameters(given(json!({ "root": "pictures" }))), &environment).unwrap();
    assert_eq!(samples(data.as_ref())[1].0[0], 40.0 / 255.0);
}

#[test]
fn files_of_another_format_are_called_what_they_are() {
    let (folder, environment) = written(&table());
    let load = |kind: fn(&_, &_) -> _, file: &str| {
        let given = parameters(json!({ "train": file }));
        let loaded: Result<Box<dyn Dataset>, DataError> = kind(&given, &environment);
        loaded.err().unwrap().to_string()
    };
    let write = |text: &str| std::fs::write(folder.path().join("x"), text).unwrap();
    let refused = "data file \"x\": not a usable Parquet file: ";
    write("version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    let of_lfs = load(parquet, "x");
    assert!(of_lfs.starts_with("data file \"x\": a pointer of git-lfs"), "{of_lfs}");
    write("<!DOCTYPE html><html></html>");
    let of_page = load(parquet, "x");
    assert!(of_page.starts_with("data file \"x\": a web page"), "{of_page}");
    write("a,label\n1,0\n");
    assert_eq!(load(parquet, "x"), format!("{refused}it begins with the bytes [61, 2c, 6c, 61]"));
    let error = load(csv, "train.parquet");
    assert!(
        error.ends_with("not a usable CSV file: it is a Parquet file: kind = \"parquet\" reads it"),
        "{error}"
    );
}

#[test]
fn keys_without_a_meaning_are_refused() {
    let (_folder, environment) = written(&table());
    for (more, expected) in [
        (json!({ "header": true }), "data.header: has no meaning for Parquet files; remove it"),
        (json!({ "resize": [2, 2], "columns": ["a"] }), "data.columns: has no meaning for images; remove it"),
        (
            json!({ "image": "a", "one_hot": ["b"] }),
            "data.one_hot: has no meaning with data.image; remove it",
        ),
        (json!({ "lable": "a" }), "data.lable: unknown field `lable`, expected one of `kind`"),
    ] {
        let error = parquet(&parameters(given(more)), &environment).err().unwrap();
        assert!(error.is_fault_of_job());
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!error.to_string().contains("`delimiter`"), "{error}");
    }
}

#[test]
fn pages_that_hold_more_than_they_claim_are_refused_before_they_are_unpacked() {
    for compression in [Compression::GZIP(GzipLevel::default()), Compression::BROTLI(BrotliLevel::default())]
    {
        // A page of zeros, whose header claims a tenth of them.
        let zeros = Values::Binary(vec![Some(vec![0; 1 << 20])]);
        let columns = vec![("image", zeros), ("label", long(&[0]))];
        let table = Table { compression, encoding: Some(Encoding::PLAIN), ..Table::new(columns) };
        let (folder, environment) = written(&table);
        let path = folder.path().join("train.parquet");
        let mut bytes = std::fs::read(&path).unwrap();
        // The header of the first page: field 1 is its type, 0, and field 2 its size, 2^20 + 10, of which a number of as many
        // bytes, 100,000, takes the place.
        assert_eq!(bytes[4..11], [0x15, 0x00, 0x15, 0x94, 0x80, 0x80, 0x01]);
        bytes[7..11].copy_from_slice(&[0xc0, 0x9a, 0x8c, 0x00]);
        std::fs::write(&path, bytes).unwrap();
        let error = parquet(&parameters(given(json!({}))), &environment).err().unwrap().to_string();
        assert!(
            error.contains("column \"image\": a page holds more than the 100000 bytes that it claims"),
            "{error}"
        );
    }
}
