//! Reads the fixtures' safetensors files.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::Tensors;

/// Samples of a classification task, in order.
pub struct Samples {
    /// Inputs of the model, one row per sample.
    pub inputs: Vec<Vec<f64>>,
    /// The class of each sample.
    pub targets: Vec<usize>,
}

/// Reads all tensors of a file as f64.
///
/// # Panics
/// If the file is missing or contains elements other than f32, f64 or i64.
pub fn read_tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = file.tensors().into_iter();
    tensors
        .map(|(name, view)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
                Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
                Dtype::I64 => data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
                other => panic!("{}: {name} holds {other:?}", path.display()),
            };
            (name, (view.shape().to_vec(), values))
        })
        .collect()
}

/// Reads `inputs` and `targets` of a file, inputs flattened to one row per sample.
///
/// # Panics
/// If the file has no such tensors.
pub fn read_samples(path: &Path) -> Samples {
    let tensors = read_tensors(path);
    let (_, targets) = &tensors["targets"];
    let (_, inputs) = &tensors["inputs"];
    let width = inputs.len() / targets.len();
    Samples {
        inputs: inputs.chunks(width).map(<[f64]>::to_vec).collect(),
        targets: targets.iter().map(|&target| target as usize).collect(),
    }
}
