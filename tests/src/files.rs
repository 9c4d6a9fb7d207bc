//! Safetensors files for tests: samples to train on, weights to start from, files that are none.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::reference::{Samples, Tensors, read_tensors};

/// Tensors of a file's bytes.
///
/// # Panics
/// When they are no safetensors file.
pub fn tensors(bytes: &[u8]) -> Tensors {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a writable file");
    read_tensors(file.path())
}

/// One tensor to be written.
pub struct FileTensor {
    /// Its name.
    pub name: &'static str,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub bytes: Vec<u8>,
}

impl FileTensor {
    /// Numbers of 32 bits.
    pub fn f32(name: &'static str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    /// Integers, one dimension.
    pub fn i64(name: &'static str, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::I64, shape: vec![values.len()], bytes }
    }
}

/// A safetensors file of these tensors.
///
/// # Panics
/// When a shape does not fit its bytes.
pub fn safetensors(tensors: &[FileTensor]) -> Vec<u8> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name, view.expect("a shape that fits its bytes"))
    });
    serialize(views, None).expect("tensors that can be written")
}

/// A file with any header, in front of `data` bytes of zeros.
pub fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// Writes samples as a data set of kind `safetensors`.
///
/// # Panics
/// When the file cannot be written.
pub fn write_samples(path: &Path, samples: &Samples) {
    let rows = samples.targets.len();
    let values: Vec<f32> = samples.inputs.iter().flatten().map(|&value| value as f32).collect();
    let targets: Vec<i64> = samples.targets.iter().map(|&target| target as i64).collect();
    let inputs = FileTensor::f32("inputs", &[rows, values.len() / rows], &values);
    std::fs::write(path, safetensors(&[inputs, FileTensor::i64("targets", &targets)]))
        .expect("a writable file");
}
