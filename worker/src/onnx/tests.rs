//! The graphs of all models that are built in. What they compute is compared with PyTorch by tests/python/check_onnx.py,
//! which needs onnxruntime.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::models::recorded_tests::CASES;
use crate::test_support::build_model;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models")
}

/// The model of a recorded case, with its tensors by name and shape.
fn exported(case: &str) -> (ModelProto, Vec<(String, Vec<usize>)>) {
    let text = std::fs::read(folder().join(case).join("case.json")).unwrap();
    let case: Value = serde_json::from_slice(&text).unwrap();
    let shape: Vec<usize> = serde_json::from_value(case["input_shape"].clone()).unwrap();
    let classes = case["classes"].as_u64().unwrap() as usize;
    let (model, tensors) = build_model(case["model"].clone(), &shape, classes).unwrap();
    tensors.load(tensors.initial(1).values()).unwrap();
    let mut graph = Graph::new(&tensors, &shape);
    let logits = model.onnx(&mut graph).unwrap().unwrap();
    let bytes = graph.into_bytes(classes, &logits, &BTreeMap::from([("job", "a job".to_owned())]));
    let specs =
        tensors.layout().entries().iter().map(|entry| (entry.spec.name.clone(), entry.spec.shape.clone()));
    (ModelProto::decode(bytes.as_slice()).unwrap(), specs.collect())
}

#[test]
fn every_operation_gets_what_is_there_before_it_and_every_tensor_is_stored_once() {
    for case in CASES {
        let (model, specs) = exported(case);
        let graph = model.graph.unwrap();
        let mut known: BTreeSet<&str> = BTreeSet::from([INPUT]);
        for tensor in &graph.initializer {
            assert!(known.insert(&tensor.name), "{case}: {} is there twice", tensor.name);
            let size = if tensor.data_type == 1 { 4 } else { 8 };
            assert_eq!(tensor.raw_data.len() as i64, size * tensor.dims.iter().product::<i64>(), "{case}");
        }
        for node in &graph.node {
            let missing = node.input.iter().find(|input| !known.contains(input.as_str()));
            assert_eq!(missing, None, "{case}: {}", node.name);
            for output in &node.output {
                assert!(known.insert(output), "{case}: {output} is there twice");
            }
        }
        assert!(known.contains(OUTPUT), "{case}");
        for (name, shape) in specs {
            let stored = graph.initializer.iter().find(|tensor| tensor.name == name);
            let dims: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
            assert_eq!(stored.map(|tensor| &tensor.dims), Some(&dims), "{case}: {name}");
        }
    }
}

#[test]
fn a_file_says_its_opset_its_shapes_and_its_metadata() {
    let (model, _) = exported("resnet-group");
    assert_eq!((model.ir_version, model.opset_import[0].version), (IR_VERSION, OPSET));
    assert_eq!(
        (model.metadata_props[0].key.as_str(), model.metadata_props[0].value.as_str()),
        ("job", "a job")
    );
    let graph = model.graph.unwrap();
    assert_eq!(graph.input[0], ValueInfo::f32(INPUT, SAMPLES, &[8, 8]));
    assert_eq!(graph.output[0], ValueInfo::f32(OUTPUT, SAMPLES, &[5]));
}
