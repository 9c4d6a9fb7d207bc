//! Compares each kind of model with recorded results of PyTorch: tests/python/make_model_cases.py.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ::safetensors::SafeTensors;
use candle_core::{Device, Tensor};
use lookbehind_common::layout::TensorKind;
use lookbehind_common::model_file;
use serde_json::Value;

use super::*;
use crate::data::Target;
use crate::parameters::ModelTensors;
use crate::test_support::build_model;
use lookbehind_kernels::cross_entropy::of_logits;
use lookbehind_kernels::record;

const TOLERANCE: f32 = 1e-4;
/// The recorded cases.
pub(crate) const CASES: [&str; 10] = [
    "mlp",
    "resnet-basic",
    "resnet-bottleneck",
    "resnet-group",
    "resnet-imagenet",
    "sequential-pooled",
    "sequential-residual",
    "vit-cls",
    "vit-mean",
    "wide-resnet",
];

struct Case {
    model: Box<dyn Model>,
    tensors: ModelTensors,
    expected: BTreeMap<String, Tensor>,
    targets: Vec<Target>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models")
}

fn load(case: &str) -> Case {
    let read = |file: &str| std::fs::read(folder().join(case).join(file)).unwrap();
    let description: Value = serde_json::from_slice(&read("case.json")).unwrap();
    let shape: Vec<usize> = serde_json::from_value(description["input_shape"].clone()).unwrap();
    let classes = description["classes"].as_u64().unwrap() as usize;
    let (model, tensors) = build_model(description["model"].clone(), &shape, classes).unwrap();
    let weights = model_file::read(&read("model.safetensors"), tensors.layout()).unwrap();
    tensors.load(weights.values()).unwrap();
    let expected: BTreeMap<_, _> =
        candle_core::safetensors::load(folder().join(case).join("expected.safetensors"), &Device::Cpu)
            .unwrap()
            .into_iter()
            .collect();
    let targets = expected["targets"].to_vec1::<i64>().unwrap();
    let targets = targets.into_iter().map(|class| Target::from(class as u32)).collect();
    Case { model, tensors, expected, targets }
}

fn elements(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
}

#[test]
fn every_recorded_case_is_tried() {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let found: BTreeSet<String> = entries.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(found, CASES.map(str::to_owned).into());
}

#[test]
fn weights_have_the_names_and_shapes_of_pytorchs_modules_and_no_others() {
    for case in CASES {
        let bytes = std::fs::read(folder().join(case).join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let weights = file.names().into_iter().filter(|name| !model_file::is_counter(name));
        let theirs: BTreeSet<String> = weights.map(str::to_owned).collect();
        let tensors = load(case).tensors;
        let ours: BTreeSet<String> = tensors.layout().entries().iter().map(|e| e.spec.name.clone()).collect();
        assert_eq!(ours, theirs, "{case}");
    }
}

#[test]
fn a_test_pass_gives_the_logits_that_pytorch_gives() {
    for case in CASES {
        let Case { model, expected, .. } = load(case);
        let samples: Vec<u64> = (0..expected["inputs"].dim(0).unwrap() as u64).collect();
        let context = ForwardContext::new(Mode::Test, BatchPosition::default(), &samples);
        let found = model.forward(&expected["inputs"], &context).unwrap();
        assert_eq!(found.dims(), expected["logits"].dims(), "{case}");
        for (found, expected) in elements(&found).into_iter().zip(elements(&expected["logits"])) {
            assert!((found - expected).abs() <= TOLERANCE, "{case}: {found}, expected {expected}");
        }
        assert!(context.into_reported().is_empty(), "{case}: batch statistics of a test pass");
    }
}

#[test]
fn a_training_pass_gives_the_gradients_and_batch_statistics_that_pytorch_gives() {
    for case in CASES {
        let Case { model, tensors, expected, targets } = load(case);
        let samples: Vec<u64> = (0..targets.len() as u64).collect();
        let context = ForwardContext::new(Mode::Train, BatchPosition::default(), &samples);
        let (logits, tape) = record(|| model.forward(&expected["inputs"], &context).unwrap());
        let loss = of_logits(&logits, &targets, 0.0, samples.len() as u64).unwrap();
        let gradient = Tensor::from_vec(loss.gradient, logits.shape(), logits.device()).unwrap();
        let gradients = tensors.gradients(&tape.backward(logits, gradient).unwrap()).unwrap();
        let statistics = tensors.statistics(&context.into_reported(), 1.0).unwrap();
        let (mut compared, mut error, mut size) = (0, 0.0, 0.0);
        for entry in tensors.layout().entries() {
            let (prefix, flat_buffer) = match entry.spec.kind {
                TensorKind::Parameter => ("gradient", &gradients),
                TensorKind::RunningStatistic => ("statistic", &statistics),
            };
            let found = &flat_buffer[entry.range.clone()];
            let Some(expected) = expected.get(&format!("{prefix}.{}", entry.spec.name)) else { continue };
            let expected = elements(expected);
            let off = distance(found, &expected);
            let zeros = vec![0.0; found.len()];
            error += off.powi(2);
            size += distance(&expected, &zeros).powi(2);
            compared += 1;
            assert!(
                off <= TOLERANCE * (1.0 + distance(&expected, &zeros)),
                "{case}: {}: off by {off}",
                entry.spec.name
            );
        }
        assert!(compared * 3 >= tensors.layout().entries().len() * 2, "{case}: {compared} tensors compared");
        assert!(
            error.sqrt() <= TOLERANCE * size.sqrt(),
            "{case}: off by {} of {}",
            error.sqrt(),
            size.sqrt()
        );
    }
}
