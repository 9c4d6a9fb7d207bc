//! Why a model file cannot be written or read.

use std::io;

use safetensors::SafeTensorError;
use safetensors::tensor::Dtype;

use super::MAX_HEADER;

/// Why a model file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// The file cannot be written.
    #[error("cannot be written: {source}")]
    Write {
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file is not a safetensors file, or is damaged.
    #[error("not a usable safetensors file: {source}")]
    Format {
        /// Error of the safetensors library.
        #[from]
        source: SafeTensorError,
    },
    /// The file is shorter or longer than its header says, or too short for a header.
    #[error("not a usable safetensors file: expected {expected} bytes, found {found}")]
    Length {
        /// What the header says, or the least that a file has.
        expected: u64,
        /// Length of the file in bytes.
        found: u64,
    },
    /// The header is too long.
    #[error("not a usable safetensors file: expected a header of at most {MAX_HEADER} bytes, found {found}")]
    HeaderLength {
        /// Length of the header in bytes, as the file begins.
        found: u64,
    },
    /// The header is not well-formed.
    #[error("not a usable safetensors file: {reason}")]
    Header {
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds no tensor.
    #[error("not a usable model file: it holds no tensors")]
    Empty,
    /// A tensor of the model is not in the file.
    #[error("tensor {name:?}: missing; the file has {found}")]
    Missing {
        /// Name of the tensor.
        name: String,
        /// The names that the file has, and which key of the job file mends it, if one does.
        found: String,
    },
    /// The file holds a tensor that the model does not have.
    #[error("tensor {name:?}: the model has none of that name")]
    Unknown {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor does not have the model's shape.
    #[error("tensor {name:?}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape in the model.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is not f32.
    #[error("tensor {name:?}: expected F32, found {found:?}")]
    Dtype {
        /// Name of the tensor.
        name: String,
        /// Dtype in the file.
        found: Dtype,
    },
    /// A value is NaN or infinite.
    #[error("tensor {name:?}: number {index} is not finite")]
    NotFinite {
        /// Name of the tensor.
        name: String,
        /// Index of the first such value, row-major.
        index: usize,
    },
}
