//! Why a file of another program does not give the model's tensors.

use lookbehind_common::model_file::ModelFileError;
use safetensors::tensor::Dtype;

/// Why a file of another program does not give the model's tensors. Names are those of the file where nothing else is
/// said.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is damaged, or no model file can be made.
    #[error(transparent)]
    File(#[from] ModelFileError),
    /// The file is one of `torch.save`.
    #[error(
        "expected a safetensors file, found an archive such as torch.save writes; in Python, \
         safetensors.torch.save_file(torch.load(\"...\", weights_only=True), \"...\") converts a dictionary of tensors"
    )]
    Pickle,
    /// The library has no model of this kind.
    #[error("names: {library:?} has no names for model kind {kind:?}, only for resnet and vit")]
    NoNames {
        /// The library.
        library: &'static str,
        /// The kind of the job's model.
        kind: String,
    },
    /// A key changes nothing.
    #[error("{key}: no tensor belongs to {value:?}; there are {names}")]
    NoEffect {
        /// The key under `model.init`.
        key: &'static str,
        /// The part of it that changes nothing.
        value: String,
        /// Some of the names in question.
        names: String,
    },
    /// Two tensors get the same name.
    #[error("tensors {first:?} and {second:?}: both would become {target:?}")]
    Twice {
        /// Name in the model.
        target: String,
        /// Name of one of them.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// A tensor of the model is not in the file.
    #[error("tensor {name:?} of the model: missing; the file has {found}{hint}")]
    Missing {
        /// Name in the model.
        name: String,
        /// Some of the file's names.
        found: String,
        /// Which keys would mend it; empty if none is known.
        hint: String,
    },
    /// A tensor of the file is none of the model's.
    #[error(
        "tensor {name:?}: the model has no {target:?}; model.init.drop = [...] leaves out tensors or whole modules"
    )]
    Unused {
        /// Its name.
        name: String,
        /// The name that it was given.
        target: String,
    },
    /// A tensor has another shape than the model's.
    #[error("tensor {name:?}: expected shape {expected:?}, found {found:?}{hint}")]
    Shape {
        /// Its name.
        name: String,
        /// Shape in the model.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
        /// Which key would mend it.
        hint: String,
    },
    /// A tensor's values are no floating-point numbers.
    #[error("tensor {name:?}: expected F32, F16, BF16 or F64, found {found:?}")]
    Dtype {
        /// Its name.
        name: String,
        /// Its dtype.
        found: Dtype,
    },
    /// A value is NaN or infinite, or becomes infinite as f32.
    #[error("tensor {name:?}: number {index} is not finite as f32")]
    NotFinite {
        /// The tensor's name.
        name: String,
        /// Index of the first such value, row-major.
        index: usize,
    },
    /// Position embeddings cannot be resampled.
    #[error("positions: expected [1, {tokens} + a square of patches, {dim}] for {wanted:?}, found {found:?}")]
    Positions {
        /// Positions that are not patches.
        tokens: usize,
        /// Embedding dimension.
        dim: usize,
        /// Shape in the model.
        wanted: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
}
