//! Tables as people and programs write them.

use serde_json::{Value, json};

use super::{load_given, written};
use crate::{DataReport, Dataset, SampleContext, Split};

/// The inputs and the class of a sample.
type Sample = (Vec<f32>, u32);

/// The samples of the training split, each with its class, and the report.
fn read(text: impl AsRef<[u8]>, given: Value) -> Result<(Vec<Sample>, DataReport), String> {
    let (_folder, environment) = written(text);
    let mut parameters = json!({ "train": "train.csv" });
    if let (Value::Object(all), Value::Object(given)) = (&mut parameters, given) {
        all.extend(given);
    }
    let data = load_given(&environment, parameters).map_err(|error| error.to_string())?;
    Ok((samples(data.as_ref()), data.report()))
}

fn samples(data: &dyn Dataset) -> Vec<Sample> {
    let all: Vec<u64> = (0..data.description().train_samples).collect();
    let batch = data.batch(Split::Train, &all, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let size = data.description().input_size();
    let inputs = batch.inputs.chunks(size).map(<[f32]>::to_vec);
    inputs.zip(batch.targets.iter().map(|target| target.class)).collect()
}

fn refused(text: &str, given: Value) -> String {
    read(text, given).err().unwrap_or_else(|| panic!("accepted: {text}"))
}

fn found(report: &DataReport) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn every_way_to_write_a_table_gives_the_same_samples() {
    let expected = vec![(vec![1.5, -2.0], 0), (vec![3.0, 4.0], 1)];
    for (text, given) in [
        ("a,b,label\n1.5,-2,0\n3,4,1\n", json!({})),
        ("a;b;label\r\n1.5;-2;0\r\n3;4;1", json!({})),
        ("a;b;label\n1,5;-2;0\n3,0;4;1\n", json!({ "decimal": "," })),
        ("a\tb\tlabel\n1.5\t-2\t0\n3\t4\t1\n", json!({})),
        ("a|b|label\n1.5|-2|0\n3|4|1\n", json!({})),
        ("a:b:label\n1.5:-2:0\n3:4:1\n", json!({ "delimiter": ":" })),
        (" a  b   label\n 1.5  -2 0\n 3  4 1\n", json!({})),
        ("sep=;\na;b;label\n1.5;-2;0\n3;4;1\n", json!({})),
        ("\u{feff}a,b,label\n1.5,-2,0\n3,4,1\n", json!({})),
        ("\"a\",\"b\",\"label\"\n\"1.5\",\"-2\",\"0\"\n3,4,1\n", json!({})),
        ("'a','b','label'\n'1.5','-2','0'\n3,4,1\n", json!({ "quote": "'" })),
        ("a,b,label,\n1.5,-2,0,\n3,4,1,\n", json!({})),
        ("a,b,label\n1.5,-2,0,,\n3,4,1,,\n,,,,\n   \n\n", json!({})),
        ("a,b,label\n1.5,-2.000,0.0\n3,4.,1.0\n", json!({})),
        ("1.5,-2,0\n3,4,1\n", json!({ "header": false, "label": 2 })),
        ("0,1.5,-2\n1,3,4\n", json!({ "header": false, "label": "0" })),
        (",a,b,label\n7,1.5,-2,0\n8,3,4,1\n", json!({})),
        ("Unnamed: 0,a,b,label\n7,1.5,-2,0\n8,3,4,1\n", json!({})),
        ("id,a,b,label\n7,1.5,-2,0\n8,3,4,1\n", json!({ "exclude": ["id"] })),
        ("b,x,label,a\n-2,?,0,1.5\n4,?,1,3\n", json!({ "columns": ["a", "b"] })),
    ] {
        let (samples, _) = read(text, given).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(samples, expected, "{text:?}");
    }
    let utf16: Vec<u8> =
        "\u{feff}a;b;label\r\n1.5;-2;0\r\n3;4;1\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read(utf16, json!({})).unwrap().0, expected);
}

#[test]
fn rows_without_content_are_left_out_and_counted() {
    let (samples, report) = read("a,label\n1,0\n,\n  ,\n2,1\n", json!({})).unwrap();
    assert_eq!(samples.len(), 2);
    let expected =
        "left out of the training split: 2 rows without content (train.csv, line 3, train.csv, line 4)";
    assert_eq!(found(&report), [expected]);
}

#[test]
fn rows_are_numbered_by_the_lines_of_the_file() {
    for (text, expected) in [
        ("a,b,label\n1,2,0\n\n1,,0\n", "line 4, column \"b\": found \"\""),
        ("a,b,label\r\n1,2,0\r\n\r\n1,,0\r\n", "line 4, column \"b\": found \"\""),
        ("a,b,label\r1,2,0\r1,,0\r", "line 3, column \"b\": found \"\""),
        ("a,b,label\n\"1\n\",2,0\n1,,0\n", "line 4, column \"b\": found \"\""),
        ("a,b,label\n1,2,0\n1\n", "line 3 has 1 cells, expected 3 as in the first line"),
        ("sep=,\na,b,label\n1,x,0\n", "line 3, column \"b\": found \"x\""),
    ] {
        let error = refused(text, json!({}));
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_column_that_counts_the_rows_is_refused_unless_it_is_meant() {
    let table = |first: u32| {
        let rows = (0..12).map(|row| format!("{},{},{}\n", first + row, row * row % 7, row % 2));
        format!("id,a,label\n{}", rows.collect::<String>())
    };
    for first in [0, 1, 500] {
        let error = refused(&table(first), json!({}));
        assert!(error.contains("column \"id\": counts the rows"), "{error}");
        assert!(error.contains("exclude = [\"id\"] leaves it out"), "{error}");
    }
    assert_eq!(read(table(0), json!({ "columns": ["id", "a"] })).unwrap().1.description.input_shape, [2]);
    assert_eq!(read(table(0), json!({ "exclude": ["id"] })).unwrap().1.description.input_shape, [1]);
}

#[test]
fn columns_without_a_name_are_left_out_and_said() {
    let (_, report) = read(",a,label\n5,1,0\n6,2,1\n", json!({})).unwrap();
    let expected = "left out of the training split: 1 column without a name (train.csv, column 0 from 0)";
    assert_eq!(found(&report), [expected]);
}

#[test]
fn labels_of_text_become_classes_in_their_order() {
    let text = "a,label\n1,setosa\n2,\"cat, big\"\n3,setosa\n4,ape\n";
    let (samples, report) = read(text, json!({})).unwrap();
    assert_eq!(report.class_names, ["ape", "cat, big", "setosa"]);
    assert_eq!(samples.iter().map(|(_, class)| *class).collect::<Vec<_>>(), [2, 1, 2, 0]);
    assert_eq!(report.samples, [[1, 0], [1, 0], [2, 0]]);
    let (samples, report) = read("a,label\n1,true\n2,false\n", json!({})).unwrap();
    assert_eq!((report.class_names, samples[0].1), (vec!["false".to_owned(), "true".to_owned()], 1));
    let (samples, report) = read("a,label\n1,10\n2,-1\n3,10\n", json!({ "labels": "text" })).unwrap();
    assert_eq!((report.class_names, samples[1].1), (vec!["-1".to_owned(), "10".to_owned()], 0));
}

#[test]
fn labels_that_are_neither_are_refused_with_the_way_out() {
    for (text, given, expected) in [
        (
            "a,label\n1,0\n2,cat\n",
            json!({}),
            "line 3, column \"label\": found \"cat\", expected a class from 0 to",
        ),
        ("a,label\n1,-1\n2,1\n", json!({}), "labels = \"text\" takes each different label as a class"),
        (
            "a,label\n1,cat\n2,3\n",
            json!({}),
            "line 3, column \"label\": found \"3\", expected a name as before",
        ),
        (
            "a,label\n1,cat\n2,\n",
            json!({}),
            "found \"\", expected a label; missing = \"skip\" leaves out rows",
        ),
        ("a,label\n1,x\n2,y\n", json!({ "classes": 1 }), "found \"y\", expected at most 1 different labels"),
        ("a,label\n1,0.5\n", json!({}), "found \"0.5\", expected a class"),
    ] {
        let error = refused(text, given);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn labels_of_the_test_split_are_those_of_the_training_split() {
    let (folder, environment) = written("a,label\n1,b\n2,a\n");
    let load = |test: &str| {
        std::fs::write(folder.path().join("test.csv"), test).unwrap();
        load_given(&environment, json!({ "train": "train.csv", "test": "test.csv" }))
    };
    assert_eq!(load("a,label\n1,b\n").unwrap().report().samples, [[1, 0], [1, 1]]);
    let error = load("a,label\n1,c\n").err().unwrap().to_string();
    assert!(
        error.contains("found \"c\", expected a label that the training split has, too: a, b"),
        "{error}"
    );
}

#[test]
fn an_excluded_column_may_be_absent_from_the_test_split() {
    let (folder, environment) = written("id,a,label\n9,1,0\n4,2,1\n");
    std::fs::write(folder.path().join("test.csv"), "a,label\n3,1\n").unwrap();
    let given = json!({ "train": "train.csv", "test": "test.csv", "exclude": ["id"] });
    assert_eq!(load_given(&environment, given).unwrap().description().input_shape, [1]);
}

#[test]
fn missing_values_are_refused_left_out_or_replaced_as_the_job_says() {
    let text = "a,b,label\n1,2,0\nNA,3,1\n4,?,0\n5,6,\n7,8,1\n";
    let error = refused(text, json!({}));
    let expected =
        "line 3, column \"a\": found \"NA\", expected a finite number; missing = \"skip\" leaves out rows";
    assert!(error.contains(expected), "{error}");
    let (samples, report) = read(text, json!({ "missing": "skip" })).unwrap();
    assert_eq!(samples, [(vec![1.0, 2.0], 0), (vec![7.0, 8.0], 1)]);
    assert!(found(&report)[0].starts_with("left out of the training split: 3 rows with missing values"));
    let filled = json!({ "missing": -1 });
    let error = refused(text, filled.clone());
    assert!(error.contains("line 5, column \"label\": found \"\", expected a label"), "{error}");
    let (samples, report) = read("a,b,label\n1,2,0\nNA,3,1\n", filled).unwrap();
    assert_eq!(samples[1], (vec![-1.0, 3.0], 1));
    assert_eq!(found(&report), ["1 missing value was replaced"]);
}

#[test]
fn truth_values_are_one_and_zero() {
    let (samples, report) = read("a,label\nTrue,0\nfalse,1\n", json!({})).unwrap();
    assert_eq!(samples, [(vec![1.0], 0), (vec![0.0], 1)]);
    assert_eq!(found(&report), ["2 truth values were taken as 1 and 0"]);
}

#[test]
fn texts_become_inputs_as_the_job_says() {
    let text = "size,color,a,label\nbig,red,5,0\nsmall,green,6,1\nbig,blue,9,1\n";
    let given = json!({ "one_hot": ["color"], "ordinal": { "size": ["small", "big"] } });
    let (samples, _) = read(text, given.clone()).unwrap();
    // The size, then blue, green and red, then a.
    assert_eq!(samples[0].0, [1.0, 0.0, 0.0, 1.0, 5.0]);
    assert_eq!(samples[1].0, [0.0, 0.0, 1.0, 0.0, 6.0]);
    assert_eq!(samples[2].0, [1.0, 1.0, 0.0, 0.0, 9.0]);
    let error = refused("size,color,a,label\nhuge,red,5,0\n", given);
    assert!(error.contains("line 2, column \"size\": found \"huge\", expected one of small, big"), "{error}");
    let error = refused(text, json!({ "one_hot": ["label"] }));
    assert!(error.contains("column \"label\": is no input"), "{error}");
}

#[test]
fn columns_of_the_job_are_checked() {
    for (given, expected) in [
        (json!({ "columns": ["a", "label"] }), "data.columns: \"label\" is the column of labels"),
        (json!({ "columns": ["a", "a"] }), "data.columns: \"a\" is listed more than once"),
        (json!({ "columns": ["a"], "exclude": ["b"] }), "data.exclude: has no meaning"),
        (json!({ "exclude": ["label"] }), "data.exclude: \"label\" is the column of labels"),
        (json!({ "exclude": ["z"] }), "column \"z\": missing; there are a, b, label"),
        (json!({ "header": false }), "data.label: is required where header = false"),
        (json!({ "delimiter": ",," }), "data.delimiter: expected one character of ASCII or \"whitespace\""),
        (json!({ "decimal": "x" }), "data.decimal: expected \".\" or \",\""),
        (json!({ "thousands": "." }), "data.thousands: expected a character that no number has"),
        (json!({ "missing": "guess" }), "data.missing: expected \"refuse\", \"skip\" or a number"),
        (
            json!({ "label_smooth": 0.1 }),
            "data.label_smooth: unknown field `label_smooth`, expected one of `kind`",
        ),
    ] {
        let error = refused("a,b,label\n1,2,0\n", given);
        assert!(error.contains(expected), "{error}");
    }
    let error = refused("1,2,0\n3,4,1\n", json!({}));
    assert!(
        error.contains("the first line has numbers only, and no column \"label\": with header = false"),
        "{error}"
    );
}
