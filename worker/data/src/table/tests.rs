mod as_written;

use std::fs;
use std::io::Write;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::SampleContext;
use crate::test_support::{data_folder, parameters};

const TABLE: &str = "a,label,b\n1,0,2.5\n-3e2,2, 4 \n0,1,6\n";

fn written(text: impl AsRef<[u8]>) -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    fs::write(folder.path().join("train.csv"), text).unwrap();
    (folder, environment)
}

fn load_given(environment: &DataEnvironment, given: Value) -> Result<Box<dyn Dataset>, DataError> {
    csv(&parameters(given), environment)
}

fn inputs(data: &dyn Dataset, split: Split, samples: &[u64]) -> (Vec<f32>, Vec<u32>) {
    let batch = data.batch(split, samples, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let classes = batch.targets.iter().map(|target| target.class).collect();
    (batch.inputs, classes)
}

#[test]
fn all_columns_but_the_label_are_inputs() {
    let (_folder, environment) = written(TABLE);
    let data = load_given(&environment, json!({ "train": "train.csv" })).unwrap();
    let description = data.description();
    assert_eq!((description.train_samples, description.classes), (3, 3));
    assert_eq!(description.input_shape, [2]);
    let expected = (vec![1.0, 2.5, -300.0, 4.0, 0.0, 6.0], vec![0, 2, 1]);
    assert_eq!(inputs(data.as_ref(), Split::Train, &[0, 1, 2]), expected);
}

#[test]
fn columns_are_found_by_name_in_every_file() {
    let (folder, environment) = written(TABLE);
    fs::write(folder.path().join("test.csv"), "b,c,a,label\n9,x,8,1\n").unwrap();
    let data = load_given(&environment, json!({ "train": "train.csv", "test": "test.csv" })).unwrap();
    assert_eq!(inputs(data.as_ref(), Split::Test, &[0]), (vec![8.0, 9.0], vec![1]));
    let given =
        json!({ "train": "train.csv", "label": "label", "columns": ["b"], "shape": [1, 1], "classes": 5 });
    let data = load_given(&environment, given).unwrap();
    assert_eq!(inputs(data.as_ref(), Split::Train, &[1]), (vec![4.0], vec![2]));
    assert_eq!(
        (data.description().classes, data.description().input_shape.as_slice()),
        (5, [1, 1].as_slice())
    );
}

#[test]
fn compressed_tables_give_the_same_data() {
    let (folder, environment) = written(TABLE);
    let plain = load_given(&environment, json!({ "train": "train.csv" })).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(TABLE.as_bytes()).unwrap();
    for bytes in [gzip.finish().unwrap(), zstd::encode_all(TABLE.as_bytes(), 1).unwrap()] {
        fs::write(folder.path().join("packed"), bytes).unwrap();
        let packed = load_given(&environment, json!({ "train": "packed" })).unwrap();
        assert_eq!(packed.description(), plain.description());
    }
}

#[test]
fn wrong_tables_are_refused_with_row_and_column() {
    let train = || json!({ "train": "train.csv" });
    for (text, given, expected) in [
        ("", train(), "not a usable CSV file: no header"),
        ("a,b\n1,2\n", train(), "column \"label\": missing; there are a, b"),
        (
            TABLE,
            json!({ "train": "train.csv", "columns": ["c"] }),
            "column \"c\": missing; there are a, label, b",
        ),
        ("label\n1\n", train(), "0 columns of inputs"),
        ("a,a,label\n1,2,0\n", train(), "column \"a\": stands in the header more than once"),
        ("a,label,label\n1,0,1\n", train(), "column \"label\": stands in the header more than once"),
        ("a,label\n1,0\nx,1\n", train(), "line 3, column \"a\": found \"x\", expected a finite number"),
        ("a,label\n1,0\nNaN,1\n", train(), "line 3, column \"a\": found \"NaN\""),
        ("a,label\n1e99,0\n", train(), "line 2, column \"a\": found \"1e99\""),
        ("a,label\n,0\n", train(), "line 2, column \"a\": found \"\""),
        ("a,label\n1,\n", train(), "line 2, column \"label\": found \"\", expected a label"),
        ("a,label\n1,-1\n", train(), "line 2, column \"label\": found \"-1\""),
        (
            "a,label\n1,3\n",
            json!({ "train": "train.csv", "classes": 3 }),
            "found \"3\", expected a class from 0 to 2",
        ),
        ("a,label\n1,0\n1\n", train(), "not a usable CSV file"),
    ] {
        let (_folder, environment) = written(text);
        let error = load_given(&environment, given).err().unwrap();
        assert!(!error.is_fault_of_job());
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("\"train.csv\""), "{error}");
    }
    let (_folder, environment) = written("a,label\n");
    let error = load_given(&environment, train()).err().unwrap().to_string();
    assert_eq!(error, "training split: found 0 samples in \"train.csv\", expected at least 1");
}

#[test]
fn of_an_empty_split_and_one_that_does_not_fit_to_it_the_empty_one_is_named() {
    let (folder, environment) = written("a,label\n");
    fs::write(folder.path().join("test.csv"), "a,label\n1,2\n").unwrap();
    let given = json!({ "train": ["train.csv", "train.csv"], "test": "test.csv" });
    let error = load_given(&environment, given).err().unwrap().to_string();
    assert_eq!(error, "training split: found 0 samples in \"train.csv\" and 1 more, expected at least 1");
    let error = load_given(&environment, json!({ "train": "test.csv", "test": "train.csv" }));
    let expected = "test split: found 0 samples in \"train.csv\", expected at least 1";
    assert_eq!(error.err().unwrap().to_string(), expected);
}

#[test]
fn an_empty_list_of_files_is_the_jobs_fault() {
    let (_folder, environment) = written("a,label\n1,0\n");
    for (given, key) in
        [(json!({ "train": [] }), "data.train"), (json!({ "train": "train.csv", "test": [] }), "data.test")]
    {
        let error = load_given(&environment, given).err().unwrap();
        assert!(error.is_fault_of_job());
        assert_eq!(error.to_string(), format!("{key}: expected at least one path, found none"));
    }
}

#[test]
fn a_shape_that_the_columns_do_not_fill_is_the_jobs_fault() {
    let (_folder, environment) = written(TABLE);
    let error = load_given(&environment, json!({ "train": "train.csv", "shape": [3] })).err().unwrap();
    assert!(error.is_fault_of_job() && error.to_string().starts_with("data.shape"), "{error}");
}

#[test]
fn tables_and_rows_beyond_the_limit_of_memory_are_refused() {
    let (_folder, mut environment) = written(TABLE);
    environment.memory_limit = 36;
    assert!(load_given(&environment, json!({ "train": "train.csv" })).is_ok());
    environment.memory_limit = 35;
    let error = load_given(&environment, json!({ "train": "train.csv" })).err().unwrap().to_string();
    assert_eq!(error, "the data set takes 36 bytes in memory, this worker's limit is 35");
}

/// A table that begins with `start` and goes on with `piece` for `bytes` bytes, compressed to a few kilobytes each
/// gigabyte.
fn endless(start: &str, piece: &str, bytes: u64) -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    let file = fs::File::create(folder.path().join("train.csv")).unwrap();
    let mut encoder = zstd::Encoder::new(file, 1).unwrap();
    encoder.write_all(start.as_bytes()).unwrap();
    let block = piece.repeat((1 << 20) / piece.len());
    for _ in 0..bytes / block.len() as u64 {
        encoder.write_all(block.as_bytes()).unwrap();
    }
    encoder.finish().unwrap();
    (folder, environment)
}

#[test]
fn rows_cells_and_headers_without_an_end_are_refused_with_file_row_and_limit() {
    const LONG: u64 = 1 << 26;
    for (start, piece, expected) in [
        ("a,label\n1,0\n\"", "1", "line 3, column \"a\": longer than the 1048576 bytes that it may have"),
        ("a,label\n1,0\n", "1,", "line 3, column \"label\": found \"1\""),
        ("a,label\n1,0\n0,0,", "1,", "line 3 has more cells, expected 2 as in the first line"),
        ("a,label\n1,0\n", "\n", "line 3: longer than the 16777216 bytes that it may have"),
        ("a,label,", "xyzxyzxyzxyzxyzxyz,", "line 1: longer than the 16777216 bytes that it may have"),
        ("a,label,", ",", "1048577 columns, expected at most 1048576"),
    ] {
        let (_folder, environment) = endless(start, piece, LONG);
        let given = json!({ "train": "train.csv", "classes": 1 });
        let error = load_given(&environment, given).err().unwrap().to_string();
        assert!(error.starts_with("data file \"train.csv\"") && error.contains(expected), "{error}");
    }
}

#[test]
fn many_rows_and_many_names_of_columns_are_refused_at_the_limit() {
    for (start, piece) in [("a,label\n", "1,0\n"), ("a,label,", "x,")] {
        let (_folder, mut environment) = endless(start, piece, 1 << 28);
        environment.memory_limit = 1 << 20;
        let error = load_given(&environment, json!({ "train": "train.csv" })).err().unwrap();
        assert!(matches!(error, DataError::Memory { limit: 1_048_576, .. }), "{error}");
    }
}

#[test]
fn a_table_of_300_000_columns_is_read() {
    const COLUMNS: usize = 300_000;
    let header: Vec<String> = (0..COLUMNS).map(|column| format!("c{column}")).collect();
    let row = "0.5,".repeat(COLUMNS);
    let (_folder, environment) = written(format!("{},label\n{row}0\n{row}1\n", header.join(",")));
    let data = load_given(&environment, json!({ "train": "train.csv" })).unwrap();
    assert_eq!(data.description().input_shape, [COLUMNS]);
    assert_eq!(data.description().train_samples, 2);
}

#[test]
fn loading_ends_when_it_is_cancelled() {
    // Rows of a kilobyte that is ignored: a table of 64 GiB, whose samples take half a gigabyte.
    let (folder, environment) = endless("", &format!("1,0,{}\n", "x".repeat(1000)), 1 << 30);
    let path = folder.path().join("train.csv");
    let (start, frame) = (zstd::encode_all(&b"a,label,text\n"[..], 1).unwrap(), fs::read(&path).unwrap());
    fs::write(&path, [start, frame.repeat(64)].concat()).unwrap();
    let given = json!({ "train": "train.csv", "columns": ["a"], "classes": 1 });
    let (started, starts) = std::sync::mpsc::channel();
    let cancellation = environment.cancellation.clone();
    let loading = std::thread::spawn(move || {
        started.send(()).unwrap();
        load_given(&environment, given).err()
    });
    starts.recv().unwrap();
    cancellation.cancel();
    let error = loading.join().unwrap();
    assert!(matches!(error, Some(DataError::Cancelled)), "{error:?}");
}
