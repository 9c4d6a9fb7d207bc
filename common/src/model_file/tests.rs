use super::*;
use crate::layout::TensorSpec;

fn layout() -> Layout {
    let tensor =
        |name: &str, shape: &[usize], kind| TensorSpec { name: name.into(), shape: shape.into(), kind };
    Layout::new([
        tensor("layers.0.weight", &[2, 3], TensorKind::Parameter),
        tensor("bn.running_mean", &[2], TensorKind::RunningStatistic),
        tensor("layers.0.bias", &[2], TensorKind::Parameter),
    ])
    .expect("a valid layout")
}

fn weights() -> ModelState<FlatBuffer> {
    let parameters: Vec<f32> = (0..8).map(|i| i as f32 / 3.0).collect();
    ModelState { parameters: parameters.into(), statistics: vec![9.0, -9.0].into() }
}

fn written() -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("model-file-test-{:?}", std::thread::current().id()));
    write(&path, &layout(), &weights(), &BTreeMap::new()).expect("a writable folder");
    let bytes = std::fs::read(&path).expect("the file just written");
    std::fs::remove_file(&path).expect("the file just read");
    bytes
}

#[test]
fn equal_weights_give_equal_files_with_the_metadata_in_the_order_of_their_names() {
    let names = ["outer_step", "format", "digest", "b", "a", "d", "c"];
    let file = |number: usize| {
        let thread = std::thread::current().id();
        let path = std::env::temp_dir().join(format!("model-file-test-equal-{number}-{thread:?}"));
        let metadata = names.iter().map(|name| (*name, format!("of \"{name}\""))).collect();
        write(&path, &layout(), &weights(), &metadata).expect("a writable folder");
        let bytes = std::fs::read(&path).expect("the file just written");
        std::fs::remove_file(&path).expect("the file just read");
        bytes
    };
    let files: Vec<_> = (0..4).map(file).collect();
    assert!(files.iter().all(|bytes| *bytes == files[0]));
    let header = String::from_utf8_lossy(&files[0][8..]).into_owned();
    let places = ["a", "b", "c", "d", "digest", "format", "outer_step"]
        .map(|name| header.find(&format!("\"{name}\":\"of \\\"{name}\\\"\"")).expect("each of the metadata"));
    assert!(places.is_sorted(), "{header}");
    assert_eq!(read(&files[0], &layout()).expect("a faultless file"), weights());
}

#[test]
fn the_library_would_write_the_same_file() {
    let bytes = written();
    let file = SafeTensors::deserialize(&bytes).expect("a faultless file");
    let again = safetensors::serialize(file.iter(), None).expect("tensors that can be written");
    assert_eq!(bytes, again);
}

/// A safetensors file with an arbitrary header.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(read(&written(), &layout()).expect("a faultless file"), weights());
}

#[test]
fn each_running_mean_has_the_counter_that_pytorch_expects() {
    let bytes = written();
    let file = SafeTensors::deserialize(&bytes).expect("a faultless file");
    let mut names = file.names();
    names.sort_unstable();
    let counter = "bn.num_batches_tracked";
    assert_eq!(names, [counter, "bn.running_mean", "layers.0.bias", "layers.0.weight"]);
    let counter = file.tensor(counter).expect("the counter");
    assert_eq!((counter.dtype(), counter.shape(), counter.data()), (Dtype::I64, &[][..], &[0; 8][..]));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = written();
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length], &layout()).is_err(), "{length} bytes were taken for a whole file");
    }
}

#[test]
fn hostile_headers_are_refused() {
    let overflow = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}"#;
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let backwards = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#;
    for header in [overflow, overlap, backwards, "{", "[]", ""] {
        assert!(matches!(
            read(&with_header(header, &[0; 12]), &layout()),
            Err(ModelFileError::Format { .. })
        ));
    }
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(matches!(read(&huge, &layout()), Err(ModelFileError::Format { .. })));
}

#[test]
fn a_file_of_another_model_is_refused_with_the_tensor_named() {
    let one = |name: &str, shape: &str| {
        with_header(
            &format!(r#"{{"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[0,24]}}}}"#),
            &[0; 24],
        )
    };
    let missing = read(&one("other", "[2,3]"), &layout()).expect_err("a file without the model's tensors");
    assert_eq!(missing.to_string(), r#"tensor "layers.0.weight": missing; the file has "other""#);
    let shape = read(&one("layers.0.weight", "[3,2]"), &layout()).expect_err("a file with another shape");
    assert_eq!(shape.to_string(), r#"tensor "layers.0.weight": expected shape [2, 3], found [3, 2]"#);
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_place() {
    let mut weights = weights();
    weights.parameters[7] = f32::NAN;
    let path = std::env::temp_dir().join(format!("model-file-test-nan-{:?}", std::thread::current().id()));
    write(&path, &layout(), &weights, &BTreeMap::new()).expect("a writable folder");
    let error = read(&std::fs::read(&path).expect("the file"), &layout()).expect_err("a NaN");
    assert_eq!(error.to_string(), r#"tensor "layers.0.bias": number 1 is not finite"#);
    std::fs::remove_file(&path).expect("the file");
}

#[test]
fn a_prefix_that_explains_what_is_missing_is_named() {
    let file = written();
    let tensors = SafeTensors::deserialize(&file).expect("a faultless file");
    for prefix in ["module.", "_orig_mod.", "model.", "any.other."] {
        let renamed: BTreeMap<_, _> =
            tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
        let renamed = safetensors::serialize(renamed, None).expect("tensors that can be written");
        let error = read(&renamed, &layout()).expect_err("names with a prefix").to_string();
        let expected = format!(
            "; the file has \"{prefix}bn.num_batches_tracked\", \"{prefix}bn.running_mean\", \"{prefix}layers.0.bias\", \
             \"{prefix}layers.0.weight\"; model.init = {{ file = \"...\", strip_prefix = {prefix:?} }} takes the prefix off"
        );
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn a_file_gets_more_metadata_and_keeps_everything_else() {
    let names = ["cat".to_owned(), "dog".to_owned()];
    let classes = BTreeMap::from([(CLASSES, list_text(&names)), (JOB, "old".to_owned())]);
    let first = to_bytes(&layout(), &weights(), &classes).expect("a layout");
    let both =
        with_metadata(&first, &BTreeMap::from([(JOB, "name = \"a\"".to_owned())])).expect("a faultless file");
    assert_eq!(read(&both, &layout()).expect("the same tensors"), weights());
    assert_eq!(class_names(&both).expect("names"), names);
    assert_eq!(metadata(&both, JOB).expect("metadata").as_deref(), Some("name = \"a\""));
    assert_eq!(metadata(&both, "other").expect("metadata"), None);
    let same = with_metadata(&both, &BTreeMap::new()).expect("a faultless file");
    assert!(same == both, "other bytes for the same content");
}

#[test]
fn the_bytes_of_a_file_are_those_that_are_written() {
    let bytes = to_bytes(&layout(), &weights(), &BTreeMap::new()).expect("a layout");
    assert!(bytes == written(), "another file");
}

#[test]
fn names_of_classes_and_the_data_report_are_in_the_metadata_whatever_their_signs() {
    let names = ["1", "10", "a \"b\"", "Ä\u{1f415}"].map(str::to_owned).to_vec();
    let path = std::env::temp_dir().join(format!("model-file-test-names-{:?}", std::thread::current().id()));
    let report = ["2 training samples", "left out: 1 (\"\u{1}\")"].map(str::to_owned).to_vec();
    let metadata = BTreeMap::from([(CLASSES, list_text(&names)), (DATA, list_text(&report))]);
    write(&path, &layout(), &weights(), &metadata).expect("a writable folder");
    let bytes = std::fs::read(&path).expect("the file just written");
    std::fs::remove_file(&path).expect("the file just read");
    assert_eq!(class_names(&bytes).expect("a faultless file"), names);
    assert_eq!(data_report(&bytes).expect("a faultless file"), report);
    for list in [class_names, data_report] {
        assert_eq!(list(&written()).expect("a faultless file"), [] as [&str; 0]);
    }
    assert_eq!(read(&bytes, &layout()).expect("a faultless file"), weights());
}
