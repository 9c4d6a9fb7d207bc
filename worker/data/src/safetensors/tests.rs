use std::fs;

use serde_json::json;

use super::*;
use crate::test_support::{FileTensor, data_folder, f32_tensor, i64_tensor, parameters, write_file};
use crate::{SampleContext, Split, Target};
use ::safetensors::Dtype;

/// Loads `train` from a file of the given tensors.
fn load(tensors: &[FileTensor]) -> Result<Box<dyn Dataset>, DataError> {
    let (folder, environment) = data_folder();
    write_file(&folder.path().join("train.st"), tensors);
    safetensors(&parameters(json!({ "train": "train.st" })), &environment)
}

/// Loads `train` from a file of the given bytes and returns the error.
fn refuse_bytes(bytes: &[u8]) -> String {
    let (folder, environment) = data_folder();
    fs::write(folder.path().join("train.st"), bytes).unwrap();
    let error = safetensors(&parameters(json!({ "train": "train.st" })), &environment).err().unwrap();
    assert!(!error.is_fault_of_job());
    let text = error.to_string();
    assert!(text.starts_with("data file \"train.st\": "), "{text}");
    text
}

fn refuse(tensors: &[FileTensor]) -> String {
    let error = load(tensors).err().unwrap();
    assert!(!error.is_fault_of_job());
    error.to_string()
}

fn inputs() -> FileTensor {
    f32_tensor("inputs", &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
}

fn header(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.extend(std::iter::repeat_n(0, data));
    bytes
}

#[test]
fn rows_and_targets_come_out_as_they_stand_and_classes_follow_the_targets() {
    let data = load(&[inputs(), i64_tensor("targets", &[4, 0, 2])]).unwrap();
    let description = data.description();
    assert_eq!((description.train_samples, description.test_samples, description.classes), (3, 0, 5));
    let batch = data.batch(Split::Train, &[0, 1, 2], SampleContext { seed: 0, epoch: 0 }).unwrap();
    assert_eq!(batch.inputs, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(batch.targets, [4, 0, 2].map(Target::from));
}

#[test]
fn pixels_of_8_bits_become_values_from_0_to_1() {
    let bytes = vec![0, 255, 3, 51, 7, 9];
    let pixels =
        || FileTensor { name: "inputs", dtype: Dtype::U8, shape: vec![3, 1, 2], bytes: bytes.clone() };
    let data = load(&[pixels(), i64_tensor("targets", &[1, 0, 2])]).unwrap();
    assert_eq!(data.description().input_shape, [1, 2]);
    let batch = data.batch(Split::Train, &[0, 1, 2], SampleContext { seed: 0, epoch: 0 }).unwrap();
    assert_eq!(batch.inputs, [0.0, 255.0, 3.0, 51.0, 7.0, 9.0].map(|value: f32| value / 255.0));
    let (folder, environment) = data_folder();
    write_file(&folder.path().join("train.st"), &[pixels(), i64_tensor("targets", &[1, 0, 2])]);
    write_file(
        &folder.path().join("test.st"),
        &[f32_tensor("inputs", &[1, 1, 2], &[0.0; 2]), i64_tensor("targets", &[1])],
    );
    let given = parameters(json!({ "train": "train.st", "test": "test.st" }));
    let error = safetensors(&given, &environment).err().unwrap().to_string();
    assert_eq!(
        error,
        "data file \"test.st\": tensor \"inputs\": type F32, expected U8 as in the training split"
    );
}

#[test]
fn targets_of_all_integer_types_give_the_same_data() {
    let expected = load(&[inputs(), i64_tensor("targets", &[1, 0, 2])]).unwrap();
    let narrow = |dtype, bytes| FileTensor { name: "targets", dtype, shape: vec![3], bytes };
    for targets in [
        narrow(Dtype::U8, vec![1, 0, 2]),
        narrow(Dtype::I32, [1_i32, 0, 2].iter().flat_map(|v| v.to_le_bytes()).collect()),
        narrow(Dtype::U32, [1_u32, 0, 2].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ] {
        assert_eq!(load(&[inputs(), targets]).unwrap().description(), expected.description());
    }
}

#[test]
fn files_larger_than_a_block_are_read_whole() {
    let values: Vec<f32> = (0..200_000).map(|i| i as f32).collect();
    let data = load(&[f32_tensor("inputs", &[2, 100_000], &values), i64_tensor("targets", &[0, 1])]).unwrap();
    let batch = data.batch(Split::Train, &[0, 1], SampleContext { seed: 0, epoch: 0 }).unwrap();
    assert_eq!(batch.inputs, values);
}

#[test]
fn the_test_split_must_fit_the_training_split() {
    let (folder, environment) = data_folder();
    write_file(&folder.path().join("train.st"), &[inputs(), i64_tensor("targets", &[0, 1, 2])]);
    let with_test = |tensors: &[FileTensor]| {
        write_file(&folder.path().join("test.st"), tensors);
        safetensors(&parameters(json!({ "train": "train.st", "test": "test.st" })), &environment)
    };
    let good = with_test(&[f32_tensor("inputs", &[1, 2], &[7.0, 8.0]), i64_tensor("targets", &[2])]).unwrap();
    assert_eq!((good.description().train_samples, good.description().test_samples), (3, 1));

    let wide =
        with_test(&[f32_tensor("inputs", &[1, 3], &[0.0; 3]), i64_tensor("targets", &[0])]).err().unwrap();
    let text = wide.to_string();
    assert!(text.contains("\"test.st\"") && text.contains("shape [1, 3]") && text.contains("[2]"), "{text}");

    let class =
        with_test(&[f32_tensor("inputs", &[1, 2], &[0.0; 2]), i64_tensor("targets", &[3])]).err().unwrap();
    let text = class.to_string();
    assert!(
        text.contains("\"test.st\"") && text.contains("row 0: found 3, expected a class from 0 to 2"),
        "{text}"
    );
}

#[test]
fn the_number_of_classes_can_be_given_and_bounds_the_targets() {
    let (folder, environment) = data_folder();
    write_file(&folder.path().join("train.st"), &[inputs(), i64_tensor("targets", &[0, 1, 2])]);
    let with_classes = |classes: i64| {
        safetensors(&parameters(json!({ "train": "train.st", "classes": classes })), &environment)
    };
    assert_eq!(with_classes(10).unwrap().description().classes, 10);
    assert!(
        with_classes(2).err().unwrap().to_string().contains("row 2: found 2, expected a class from 0 to 1")
    );
    for impossible in [0, -1, 1 << 40] {
        let error = with_classes(impossible).err().unwrap();
        assert!(error.is_fault_of_job() && error.to_string().starts_with("data.classes"), "{error}");
    }
}

#[test]
fn parameters_are_refused_by_their_path() {
    let (_folder, environment) = data_folder();
    for (given, key) in [
        (json!({}), "train"),
        (json!({ "train": 3 }), "data.train"),
        (json!({ "train": "x", "tset": "y" }), "tset"),
        (json!({ "train": "../x" }), "data.train"),
        (json!({ "train": "x", "classes": 1.5 }), "data.classes"),
    ] {
        let error = safetensors(&parameters(given), &environment).err().unwrap();
        assert!(error.is_fault_of_job() && error.to_string().contains(key), "{error}");
    }
}

#[test]
fn tensors_that_cannot_be_trained_on_are_refused_by_name() {
    let targets = || i64_tensor("targets", &[0, 1, 2]);
    let bytes =
        |name, dtype, shape: &[usize], bytes| FileTensor { name, dtype, shape: shape.to_vec(), bytes };
    for (tensors, expected) in [
        (vec![targets()], "tensor \"inputs\": missing"),
        (vec![inputs()], "tensor \"targets\": missing"),
        (vec![bytes("inputs", Dtype::F64, &[3, 1], vec![0; 24]), targets()], "type F64, expected F32"),
        (vec![f32_tensor("inputs", &[3], &[0.0; 3]), targets()], "shape [3], expected [samples, ...]"),
        (vec![f32_tensor("inputs", &[0, 2], &[]), i64_tensor("targets", &[])], "shape [0, 2]"),
        (vec![f32_tensor("inputs", &[3, 0], &[]), targets()], "shape [3, 0]"),
        (vec![f32_tensor("inputs", &[1; 9], &[0.0]), i64_tensor("targets", &[0])], "at most 8 dimensions"),
        (vec![inputs(), i64_tensor("targets", &[0, 1])], "tensor \"targets\": shape [2], expected [3]"),
        (vec![inputs(), bytes("targets", Dtype::I64, &[3, 1], vec![0; 24])], "shape [3, 1], expected [3]"),
        (vec![inputs(), f32_tensor("targets", &[3], &[0.0; 3])], "type F32, expected I64, I32, U32 or U8"),
        (vec![inputs(), i64_tensor("targets", &[0, -1, 2])], "row 1: found -1"),
        (vec![inputs(), i64_tensor("targets", &[0, 1, i64::MAX])], "row 2: found 9223372036854775807"),
    ] {
        let text = refuse(&tensors);
        assert!(text.contains(expected) && text.contains("\"train.st\""), "{text}");
    }
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_row() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let inputs = f32_tensor("inputs", &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, value]);
        let text = refuse(&[inputs, i64_tensor("targets", &[0, 1, 2])]);
        assert!(text.contains(&format!("tensor \"inputs\", row 2: found {shown}")), "{text}");
    }
}

#[test]
fn data_beyond_the_memory_limit_is_refused_before_it_is_read() {
    let (folder, mut environment) = data_folder();
    write_file(&folder.path().join("train.st"), &[inputs(), i64_tensor("targets", &[0, 1, 2])]);
    let load = |environment: &DataEnvironment| {
        safetensors(&parameters(json!({ "train": "train.st", "test": "train.st" })), environment)
    };
    environment.memory_limit = 2 * (6 + 3) * 4;
    assert!(load(&environment).is_ok());
    environment.memory_limit -= 1;
    let error = load(&environment).err().unwrap();
    assert!(!error.is_fault_of_job());
    assert_eq!(error.to_string(), "the data set takes 72 bytes in memory, this worker's limit is 71");
}

#[test]
fn damaged_files_are_refused_whatever_they_claim() {
    let huge = |length: u64| length.to_le_bytes().to_vec();
    let overlap = r#"{"inputs":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
        "targets":{"dtype":"I64","shape":[2],"data_offsets":[4,20]}}"#;
    let overflow = r#"{"inputs":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}"#;
    let claims =
        r#"{"inputs":{"dtype":"F32","shape":[1000000000,1000000],"data_offsets":[0,4000000000000000]}}"#;
    let backwards = r#"{"inputs":{"dtype":"F32","shape":[1,1],"data_offsets":[8,4]}}"#;
    for (bytes, expected) in [
        (vec![], "0 bytes, expected at least 8"),
        (vec![1, 2, 3], "3 bytes, expected at least 8"),
        (huge(u64::MAX), "header of 18446744073709551615 bytes, expected at most 1048576"),
        (huge(1 << 30), "header of 1073741824 bytes"),
        (huge(100), "truncated: header of 100 bytes in a file of 8"),
        (header("", 0), "damaged safetensors header"),
        (header("{\"inputs\":", 0), "damaged safetensors header"),
        (header("\u{0}\u{1}", 0), "damaged safetensors header"),
        (header(&"[".repeat(100_000), 0), "damaged safetensors header"),
        (header(overlap, 20), "damaged safetensors header"),
        (header(overflow, 8), "damaged safetensors header"),
        (header(backwards, 8), "damaged safetensors header"),
        (header(claims, 8), "expected 4000000000000"),
    ] {
        let text = refuse_bytes(&bytes);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_file_cut_short_or_with_something_behind_it_is_refused() {
    let (folder, environment) = data_folder();
    let path = folder.path().join("train.st");
    write_file(&path, &[inputs(), i64_tensor("targets", &[0, 1, 2])]);
    let whole = fs::read(&path).unwrap();
    assert!(safetensors(&parameters(json!({ "train": "train.st" })), &environment).is_ok());
    for cut in 0..whole.len() {
        refuse_bytes(&whole[..cut]);
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(refuse_bytes(&longer).contains(&format!(
        "length {} bytes, expected {}",
        longer.len(),
        whole.len()
    )));
}
