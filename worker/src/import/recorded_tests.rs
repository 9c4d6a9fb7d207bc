//! Compares models that were imported from other libraries' files with recorded results of these libraries:
//! tests/python/make_import_cases.py.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use lookbehind_common::job::{ImportedFile, Library, Naming};
use lookbehind_common::model_file;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::Value;

use super::values::Values;
use super::{Wanted, import, positions};
use crate::models::{BatchPosition, ForwardContext, Mode};
use crate::test_support::build_model;

const TOLERANCE: f32 = 1e-4;
const CASES: [&str; 11] = [
    "huggingface-resnet18",
    "huggingface-resnet50",
    "huggingface-vit_tiny",
    "huggingface-vit_tiny-state_dict",
    "timm-resnet18",
    "timm-resnet34",
    "timm-resnet50",
    "timm-vit_tiny",
    "torchvision-resnet18",
    "torchvision-resnet50",
    "torchvision-vit_tiny",
];

#[derive(Deserialize)]
struct Case {
    library: Library,
    model: Value,
    input_shape: Vec<usize>,
    classes: usize,
    logits: Vec<Vec<f32>>,
    tensors: Vec<(String, Vec<usize>)>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/imports")
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let bytes = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Values in [low, high): splitmix64 of the name's FNV-1a hash and the index, 24 bits of it.
fn keyed(name: &str, size: usize, low: f64, high: f64) -> Vec<f32> {
    let key = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |key, byte| (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let value = |index: u64| {
        let mut z = key.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (low + (high - low) * ((z >> 40) as f64 / f64::from(1 << 24))) as f32
    };
    (0..size as u64).map(value).collect()
}

/// The keyed values of a tensor of the recorded model.
fn weights(name: &str, shape: &[usize]) -> Vec<f32> {
    let size = shape.iter().product();
    if name.ends_with("running_var") {
        return keyed(name, size, 0.5, 1.5);
    }
    if let [_] = shape {
        let is_weight = name.ends_with("weight");
        return if is_weight { keyed(name, size, 0.2, 0.6) } else { keyed(name, size, -0.3, 0.3) };
    }
    let bound = (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
    keyed(name, size, -bound, bound)
}

/// The file that the library would have written.
fn file(case: &Case) -> Vec<u8> {
    let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let tensors: Vec<_> = case.tensors.iter().map(|(name, shape)| bytes(weights(name, shape))).collect();
    let views = case.tensors.iter().zip(&tensors).map(|((name, shape), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn every_recorded_case_is_tried() {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<_> = names.filter(|name| name != "positions.json").collect();
    let mut tried = CASES.map(|case| format!("{case}.json"));
    found.sort();
    tried.sort();
    assert_eq!(found, tried);
}

#[test]
fn an_imported_model_gives_the_logits_of_the_library_that_wrote_the_file() {
    for name in CASES {
        let case: Case = read(name);
        let kind = case.model["kind"].as_str().unwrap().to_owned();
        let (model, tensors) = build_model(case.model.clone(), &case.input_shape, case.classes).unwrap();
        let from = ImportedFile { names: Some(Naming::Library(case.library)), ..ImportedFile::default() };
        let initial = tensors.initial(1);
        let wanted = Wanted { kind: &kind, layout: tensors.layout(), initial: &initial };
        let imported = import(&file(&case), &from, wanted).unwrap_or_else(|error| panic!("{name}: {error}"));
        let weights = model_file::read(&imported, tensors.layout()).unwrap();
        tensors.load(weights.values()).unwrap();

        let samples: Vec<u64> = (0..case.logits.len() as u64).collect();
        let shape = [&[samples.len()], case.input_shape.as_slice()].concat();
        let inputs = keyed("inputs", shape.iter().product(), -1.0, 1.0);
        let inputs = Tensor::from_vec(inputs, shape, &Device::Cpu).unwrap();
        let context = ForwardContext::new(Mode::Test, BatchPosition::default(), &samples);
        let logits: Vec<f32> =
            model.forward(&inputs, &context).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let most = logits.iter().zip(case.logits.concat()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(logits.len() == case.logits.concat().len() && most <= TOLERANCE, "{name}: off by {most}");
    }
}

#[derive(Deserialize)]
struct Resampled {
    from: usize,
    to: usize,
    resampled: Vec<f32>,
}

#[test]
fn position_embeddings_are_resampled_as_timm_does() {
    for Resampled { from, to, resampled } in read::<Vec<Resampled>>("positions") {
        let shape = vec![1, 1 + from * from, 2];
        let values = Values { elements: keyed("positions", 2 * (1 + from * from), -1.0, 1.0), shape };
        let found = positions::resampled(&values, &[1, 1 + to * to, 2], 1).unwrap();
        assert_eq!(found.elements.len(), resampled.len());
        for (found, expected) in found.elements.iter().zip(&resampled) {
            assert!((found - expected).abs() <= 1e-5, "{from} to {to}: {found}, expected {expected}");
        }
    }
}
