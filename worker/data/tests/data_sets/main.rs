//! Data sets as people have them, read through the public interface: files that others wrote, cases that were once misread,
//! every variant of each format with its exact values, and one data set in every format.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

mod cases;
mod others;
mod same;
mod variants;

use std::path::{Path, PathBuf};

use lookbehind_data::{DataEnvironment, DataError, Dataset, SampleContext, Split, csv, folder, idx, parquet};
use serde_json::Value;
use tempfile::TempDir;

/// The inputs and the class of a sample.
type Sample = (Vec<f32>, u32);

/// Files in the repository.
fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tables").join(name)
}

/// A new data folder.
fn data_folder() -> (TempDir, DataEnvironment) {
    let folder = TempDir::new().unwrap();
    let environment = DataEnvironment::local(folder.path().to_owned(), 1 << 30);
    (folder, environment)
}

/// Loads a data set of a kind.
fn load(
    kind: &str,
    parameters: &Value,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    match kind {
        "csv" => csv(parameters, environment),
        "folder" => folder(parameters, environment),
        "idx" => idx(parameters, environment),
        "parquet" => parquet(parameters, environment),
        other => panic!("no kind {other}"),
    }
}

/// All samples of the training split.
fn samples(data: &dyn Dataset) -> Vec<Sample> {
    let all: Vec<u64> = (0..data.description().train_samples).collect();
    let batch = data.batch(Split::Train, &all, SampleContext { seed: 0, epoch: 0 }).unwrap();
    let inputs = batch.inputs.chunks(data.description().input_size()).map(<[f32]>::to_vec);
    inputs.zip(batch.targets.iter().map(|target| target.class)).collect()
}

/// The mean cross-entropy of a linear model with known weights, and how many samples it classifies rightly; in float64.
fn loss(samples: &[Sample], classes: usize) -> (f64, usize) {
    let weight = |class: usize, input: usize| ((class * 5 + input * 3) % 7) as f64 / 4.0 - 0.75;
    let (mut sum, mut right) = (0.0, 0);
    for (inputs, target) in samples {
        let logits: Vec<f64> = (0..classes)
            .map(|class| {
                inputs.iter().enumerate().map(|(place, &input)| weight(class, place) * f64::from(input)).sum()
            })
            .collect();
        let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let all: f64 = logits.iter().map(|logit| (logit - greatest).exp()).sum();
        let own = logits[*target as usize];
        sum += all.ln() + greatest - own;
        right += usize::from(own == greatest);
    }
    (sum / samples.len() as f64, right)
}
