//! Data sets: samples by number, in a training and a test split. Samples are values and a shape; what computes with them
//! is not known here.
//!
//! A data set's content is a pure function of its parameters and files: what [`Dataset::batch`] returns for a
//! sample may depend on seed and epoch, through the keyed randomness of [`SampleContext`], and on nothing else.
//!
//! # Features
//!
//! - `parquet`: image data sets in Parquet files ([`parquet()`]).
//! - `remote`: files in object stores and behind HTTP ([`RemoteData`]).
//!
//! A build without one of them refuses what needs it and names the feature.

#![forbid(unsafe_code)]

mod augment;
mod batch;
mod budget;
mod cifar;
mod digits;
mod draws;
mod error;
mod files;
mod folder;
mod idx;
mod image;
pub mod input_spec;
mod memory;
#[cfg(not(feature = "remote"))]
mod no_remote;
mod options;
mod parquet;
mod paths;
mod planes;
#[cfg(feature = "remote")]
mod remote;
mod safetensors;
mod source;
mod table;
mod tensor_file;
mod view;

use std::path::PathBuf;

use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobError;
#[cfg(not(feature = "remote"))]
use no_remote as remote;

pub use batch::Batch;
pub use cifar::{cifar10, cifar100};
pub use digits::digits;
pub use error::{DataError, FileProblem};
pub use folder::folder;
pub use idx::idx;
pub use image::ImageProblem;
pub use input_spec::InputSpec;
pub use lookbehind_common::target::{MixedClass, Target};
pub use memory::{InMemory, Rows};
pub use parquet::parquet;
pub use paths::resolve;
pub use remote::{RemoteData, UrlPrefix};
pub use safetensors::safetensors;
pub use table::csv;
pub use view::{input_spec_with_options, with_options};

/// Most classes that a data set may have: beyond any use, far below what would exhaust memory.
pub const MAX_CLASSES: usize = 1 << 20;

/// The two parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What gradients are computed on.
    Train,
    /// What accuracy is measured on.
    Test,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Split::Train => "training",
            Split::Test => "test",
        })
    }
}

/// What a data set is, for models and for comparing workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDescription {
    /// Samples in the training split; at least 1.
    pub train_samples: u64,
    /// Samples in the test split; 0 where there is none.
    pub test_samples: u64,
    /// Shape of one sample's input.
    pub input_shape: Vec<usize>,
    /// Number of classes: every target is below it.
    pub classes: usize,
    /// BLAKE3 over everything that a sample's content depends on.
    pub fingerprint: Digest,
}

impl DataDescription {
    /// Numbers in one sample's input.
    pub fn input_size(&self) -> usize {
        self.input_shape.iter().product()
    }
}

/// Coordinates of keyed randomness for samples: augmentation draws from these and the sample's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleContext {
    /// The job's seed.
    pub seed: u64,
    /// Epoch that the samples are used in.
    pub epoch: u64,
}

/// A loaded data set.
pub trait Dataset: Send + Sync {
    /// What it is.
    fn description(&self) -> &DataDescription;

    /// The samples with the given numbers within a split, in the given order.
    ///
    /// # Errors
    /// When a number is not one of the split's, or the samples cannot be read.
    fn batch(&self, split: Split, samples: &[u64], context: SampleContext) -> Result<Batch, DataError>;
}

/// What a data set is loaded under.
#[derive(Clone, Debug)]
pub struct DataEnvironment {
    /// Folder that files are named in; nothing outside it is read.
    pub root: PathBuf,
    /// Where files named by URLs may come from.
    pub remote: RemoteData,
    /// Most bytes that the loaded samples may take in memory.
    pub memory_limit: u64,
}

impl DataEnvironment {
    /// One of files in a folder alone.
    pub fn local(root: PathBuf, memory_limit: u64) -> Self {
        Self { root, remote: RemoteData::default(), memory_limit }
    }
}

/// Whether a file is named by a URL and not by a path.
fn is_url(name: &str) -> bool {
    name.contains("://")
}

/// Checks `[data]`'s number of classes.
fn check_classes(classes: u64) -> Result<usize, JobError> {
    usize::try_from(classes).ok().filter(|classes| (1..=MAX_CLASSES).contains(classes)).ok_or_else(|| {
        JobError::new("data.classes", &format!("expected 1 to {MAX_CLASSES}, found {classes}"))
    })
}

#[cfg(test)]
mod test_support;
