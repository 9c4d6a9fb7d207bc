//! Every variant in which a data set of known values can be written, with its exact values, and the exact loss of a model
//! with known weights.

mod images;
mod pixels;
mod tables;
mod texts;

use lookbehind_data::DataEnvironment;
use serde_json::Value;

use super::{Sample, load, loss, samples};

/// Loads a variant and compares its values and its loss.
fn check(kind: &str, parameters: &Value, environment: &DataEnvironment, expected: &[Sample], variant: &str) {
    let data = load(kind, parameters, environment).unwrap_or_else(|error| panic!("{variant}: {error}"));
    let found = samples(data.as_ref());
    assert_eq!(found, expected, "{variant}");
    let classes = data.description().classes;
    let (mean, right) = loss(&found, classes);
    let (expected_mean, expected_right) = loss(expected, classes);
    assert_eq!((mean.to_bits(), right), (expected_mean.to_bits(), expected_right), "{variant}");
    assert!(mean > 0.0 && mean.is_finite(), "{variant}: a loss that tells nothing");
}
