//! Helpers of several unit tests: parameters, temporary data folders and data files.

use std::fs;
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::TensorView;
use lookbehind_common::job::Parameters;
use serde_json::Value;
use tempfile::TempDir;

use crate::DataEnvironment;

/// Parameters from JSON.
pub(crate) fn parameters(value: Value) -> Parameters {
    match value {
        Value::Object(map) => map,
        other => panic!("parameters are an object, not {other}"),
    }
}

/// A new data folder, with a limit of 8 GiB of memory.
pub(crate) fn data_folder() -> (TempDir, DataEnvironment) {
    let folder = TempDir::new().unwrap();
    let environment = DataEnvironment::local(folder.path().to_owned(), 1 << 33);
    (folder, environment)
}

/// One tensor for [`write_file`].
pub(crate) struct FileTensor {
    pub(crate) name: &'static str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// An f32 tensor.
pub(crate) fn f32_tensor(name: &'static str, shape: &[usize], values: &[f32]) -> FileTensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    FileTensor { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

/// An i64 tensor of rank 1.
pub(crate) fn i64_tensor(name: &'static str, values: &[i64]) -> FileTensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    FileTensor { name, dtype: Dtype::I64, shape: vec![values.len()], bytes }
}

/// Writes a safetensors file.
pub(crate) fn write_file(path: &Path, tensors: &[FileTensor]) {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap();
        (tensor.name, view)
    });
    fs::write(path, ::safetensors::serialize(views, None).unwrap()).unwrap();
}
