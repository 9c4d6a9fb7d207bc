//! Tables that were once misread, or refused without a reason that helps.

use lookbehind_data::{DataEnvironment, DataReport};
use serde_json::{Value, json};

use super::{Sample, fixtures, load, samples};

fn read(kind: &str, parameters: Value) -> Result<(Vec<Sample>, DataReport), String> {
    let environment = DataEnvironment::local(fixtures("cases"), 1 << 30);
    let data = load(kind, &parameters, &environment).map_err(|error| error.to_string())?;
    Ok((samples(data.as_ref()), data.report()))
}

fn refused(kind: &str, parameters: Value) -> String {
    read(kind, parameters).err().unwrap()
}

#[test]
fn classes_without_samples_are_reported() {
    let (_, report) = read("csv", json!({ "train": "class_without_samples.csv" })).unwrap();
    let lines = report.lines();
    assert!(
        lines.contains(&"298 of 301 classes have no training sample: 0, 3 to 299".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn what_spreadsheets_leave_behind_is_no_row() {
    let (expected, report) = read("csv", json!({ "train": "excel_leftovers.csv" })).unwrap();
    assert!(report.lines().iter().any(|line| line.contains("without content")), "{report:?}");
    for file in ["excel_leftovers_spaces.csv", "excel_leftovers_utf16.csv"] {
        assert_eq!(read("csv", json!({ "train": file })).unwrap().0, expected, "{file}");
    }
}

#[test]
fn a_column_without_a_name_is_no_input() {
    let (samples, report) = read("csv", json!({ "train": "index_column.csv" })).unwrap();
    assert!(samples.iter().all(|(inputs, _)| inputs.len() == 1));
    assert!(report.lines().iter().any(|line| line.contains("1 column without a name")), "{report:?}");
}

#[test]
fn the_column_of_labels_is_no_input() {
    let error = refused("csv", json!({ "train": "label_among_inputs.csv", "columns": ["a", "label"] }));
    assert_eq!(error, "data.columns: \"label\" is the column of labels");
}

#[test]
fn a_row_has_one_number_in_every_error() {
    let error = refused("csv", json!({ "train": "row_numbers.csv" }));
    assert!(error.contains("line 7, column \"b\": found \"\", expected a finite number"), "{error}");
    let error = refused("csv", json!({ "train": "row_numbers_ragged.csv" }));
    assert!(error.contains("line 7 has 3 cells, expected 5"), "{error}");
}

#[test]
fn labels_in_a_delta_encoding_are_read() {
    let (samples, report) = read("parquet", json!({ "train": "labels_in_delta_encoding.parquet" })).unwrap();
    assert_eq!(report.description.input_shape.len(), 3);
    assert!(!samples.is_empty());
    let labels: Vec<u32> = samples.iter().map(|(_, label)| *label).collect();
    assert_eq!(labels[..6], LABELS, "{labels:?}");
}

const LABELS: [u32; 6] = [0, 1, 2, 2, 1, 1];

#[test]
fn a_list_in_the_place_of_a_label_is_named() {
    let error = refused("parquet", json!({ "train": "label_is_a_list.parquet" }));
    let expected = "data file \"label_is_a_list.parquet\": column \"label\": type list of INT64, expected whole numbers or texts";
    assert_eq!(error, expected);
}
