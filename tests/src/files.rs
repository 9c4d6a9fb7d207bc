//! Safetensors files for tests: samples to train on, weights to start from, and invalid files.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::reference::{Samples, Tensors, read_tensors};

/// The tensors in the bytes of a file.
///
/// # Panics
/// If the bytes are not a safetensors file.
pub fn tensors(bytes: &[u8]) -> Tensors {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a writable file");
    read_tensors(file.path())
}

/// A tensor to be written.
pub struct FileTensor {
    /// Name of the tensor in the file.
    pub name: &'static str,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// Elements in row-major order, little-endian.
    pub bytes: Vec<u8>,
}

impl FileTensor {
    /// A tensor of f32 values.
    pub fn f32(name: &'static str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    /// A tensor of integers with one dimension.
    pub fn i64(name: &'static str, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::I64, shape: vec![values.len()], bytes }
    }
}

/// A safetensors file of these tensors.
///
/// # Panics
/// If a shape does not fit its bytes.
pub fn safetensors(tensors: &[FileTensor]) -> Vec<u8> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name, view.expect("a shape that fits its bytes"))
    });
    serialize(views, None).expect("tensors that can be written")
}

/// A file with any header, followed by `data` zero bytes.
pub fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// Writes samples as a data set of kind `safetensors`.
///
/// # Panics
/// If the file cannot be written.
pub fn write_samples(path: &Path, samples: &Samples) {
    let rows = samples.targets.len();
    let values: Vec<f32> = samples.inputs.iter().flatten().map(|&value| value as f32).collect();
    let targets: Vec<i64> = samples.targets.iter().map(|&target| target as i64).collect();
    let inputs = FileTensor::f32("inputs", &[rows, values.len() / rows], &values);
    std::fs::write(path, safetensors(&[inputs, FileTensor::i64("targets", &targets)]))
        .expect("a writable file");
}
