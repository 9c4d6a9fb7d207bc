//! What a job alone says about its samples, so that its model can be built before any file is read.

use lookbehind_common::digest::Digest;

use super::DataDescription;

pub use super::cifar::{input_spec_of_10 as cifar10, input_spec_of_100 as cifar100};
pub use super::digits::input_spec as digits;
pub use super::folder::input_spec as folder;
pub use super::idx::input_spec as idx;
pub use super::parquet::input_spec as parquet;
pub use super::safetensors::input_spec as safetensors;
pub use super::table::input_spec as csv;
pub use super::webdataset::input_spec as webdataset;

/// Shape and classes of a data set's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Shape of one sample's input.
    pub input_shape: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

impl InputSpec {
    /// A description of the smallest data set of such samples, to build a model for.
    pub fn description(&self) -> DataDescription {
        DataDescription {
            train_samples: 1,
            test_samples: 0,
            input_shape: self.input_shape.clone(),
            classes: self.classes,
            fingerprint: Digest::of(b""),
        }
    }
}

#[cfg(test)]
mod tests;
