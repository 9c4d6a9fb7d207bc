//! Data sets: samples by index, in a training and a test split. Samples are values with a shape; this crate knows
//! nothing of the models that compute with them.
//!
//! A data set's content is a pure function of its parameters and files. What [`Dataset::batch`] returns for a sample
//! may also depend on seed and epoch, through the keyed randomness of [`SampleContext`], and on nothing else.
//!
//! # Features
//!
//! - `parquet`: image data sets in Parquet files ([`parquet()`]).
//! - `remote`: files in object stores and on HTTP servers ([`RemoteData`]).
//!
//! A build without a feature refuses the jobs that need it, with an error that names the feature.

#![forbid(unsafe_code)]

mod archive;
mod augment;
mod batch;
mod cache;
mod cifar;
mod digits;
mod draws;
mod error;
mod files;
mod folder;
mod foreign;
mod idx;
mod image;
pub mod input_spec;
mod keys;
mod loading;
mod memory;
mod new_samples;
#[cfg(not(feature = "remote"))]
mod no_remote;
mod options;
mod parquet;
mod paths;
mod patterns;
mod pickle;
mod places;
mod planes;
#[cfg(feature = "remote")]
mod remote;
mod report;
mod safetensors;
mod samples;
mod selection;
mod source;
mod stamp;
mod table;
mod tensor_file;
mod view;
mod webdataset;

use std::path::PathBuf;

use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobError;
use lookbehind_common::test_set::{FurtherTests, TestSet};
#[cfg(not(feature = "remote"))]
use no_remote as remote;

pub use batch::Batch;
pub use cifar::{cifar10, cifar100};
pub use digits::digits;
pub use error::{DataError, FileProblem};
pub use folder::folder;
pub use idx::idx;
pub use image::{ForeignBytes, ImageProblem};
pub use input_spec::InputSpec;
pub use loading::{Cancellation, WORKING_MEMORY};
pub use lookbehind_common::target::{MixedClass, Target};
pub use memory::{InMemory, Rows};
pub use new_samples::NewSamples;
pub use parquet::parquet;
pub use paths::resolve;
pub use remote::{RemoteData, UrlPrefix};
pub use report::{Change, DataReport, Finding, Reason};
pub use safetensors::safetensors;
pub use table::csv;
pub use view::{depends_on_seed, input_spec_with_options, with_options};
pub use webdataset::webdataset;

/// Most classes that a data set may have: more than any use needs, and few enough not to exhaust memory.
pub const MAX_CLASSES: usize = 1 << 20;

/// The two parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Split {
    /// The samples that gradients are computed on.
    Train,
    /// The samples that evaluations are computed on.
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

/// Sizes and content of a data set, for building models and for comparing workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDescription {
    /// Number of samples in the training split; at least 1.
    pub train_samples: u64,
    /// Number of samples in the test split; 0 if there is none.
    pub test_samples: u64,
    /// Shape of one sample's input.
    pub input_shape: Vec<usize>,
    /// Number of classes: every target is below it.
    pub classes: usize,
    /// BLAKE3 over everything that a sample's content depends on; workers with the same data have the same.
    pub fingerprint: Digest,
}

impl DataDescription {
    /// Number of elements in one sample's input.
    pub fn input_size(&self) -> usize {
        self.input_shape.iter().product()
    }
}

/// Coordinates of the keyed randomness of samples: augmentation draws from these and the sample's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleContext {
    /// The job's seed.
    pub seed: u64,
    /// Epoch in which the samples are used.
    pub epoch: u64,
}

/// A loaded data set.
pub trait Dataset: Send + Sync {
    /// Sizes and content of the data set.
    fn description(&self) -> &DataDescription;

    /// What was read of the data and what was not, for their owner.
    fn report(&self) -> DataReport {
        DataReport::of(self.description())
    }

    /// The samples with the given indices within a split, in the given order.
    ///
    /// # Errors
    /// When an index is not below the split's size, or the samples cannot be read.
    fn batch(&self, split: Split, samples: &[u64], context: SampleContext) -> Result<Batch, DataError>;

    /// The class of each sample of a split, in order. Unless a data set knows better, all samples are read for it.
    ///
    /// # Errors
    /// When the samples cannot be read.
    fn labels(&self, split: Split) -> Result<Vec<u32>, DataError> {
        const PIECE: u64 = 256;
        let samples = match split {
            Split::Train => self.description().train_samples,
            Split::Test => self.description().test_samples,
        };
        let mut labels = Vec::new();
        let context = SampleContext { seed: 0, epoch: 0 };
        for start in (0..samples).step_by(PIECE as usize) {
            let piece: Vec<u64> = (start..samples.min(start + PIECE)).collect();
            let batch = self.batch(split, &piece, context)?;
            batch.check(split, piece.len(), self.description())?;
            labels.extend(batch.targets.iter().map(|target| target.class));
        }
        Ok(labels)
    }

    /// Samples that are tested in addition to the test split. A data set has none; the keys of `[data]` make them.
    fn further_tests(&self) -> FurtherTests {
        FurtherTests::default()
    }

    /// The samples with the given indices within what is tested, with the labels of that test.
    ///
    /// # Errors
    /// As [`Dataset::batch`].
    fn test_batch(&self, set: TestSet, samples: &[u64], context: SampleContext) -> Result<Batch, DataError> {
        match (set, samples) {
            (TestSet::Test, _) | (_, []) => self.batch(Split::Test, samples, context),
            (_, &[sample, ..]) => Err(DataError::NoSuchSample { sample, split: Split::Test, samples: 0 }),
        }
    }
}

/// The resources that a worker lends to a data set.
#[derive(Clone, Debug)]
pub struct DataEnvironment {
    /// The data folder, which files are named relative to; nothing outside it is read.
    pub root: PathBuf,
    /// Whether files may also be named by absolute paths, wherever they are: only where whoever names them may read all
    /// that this process can read.
    pub absolute_paths: bool,
    /// Where files that are named by URLs may come from.
    pub remote: RemoteData,
    /// Most bytes that the loaded samples may take in memory. Loading may have [`WORKING_MEMORY`] in use beyond that.
    pub memory_limit: u64,
    /// Files that take the place of the test split: samples that are to be predicted, which need no labels.
    pub new_samples: Option<NewSamples>,
    /// Ends loading with [`DataError::Cancelled`] once it is cancelled.
    pub cancellation: Cancellation,
}

impl DataEnvironment {
    /// An environment without remote files, in which nothing has been cancelled.
    pub fn local(root: PathBuf, memory_limit: u64) -> Self {
        let (remote, cancellation) = (RemoteData::default(), Cancellation::default());
        Self { root, absolute_paths: false, remote, memory_limit, new_samples: None, cancellation }
    }
}

/// Whether a file is named by a URL; otherwise by a path.
fn is_url(name: &str) -> bool {
    name.contains("://")
}

/// Checks the number of classes in `[data]`.
fn check_classes(classes: u64) -> Result<usize, JobError> {
    usize::try_from(classes).ok().filter(|classes| (1..=MAX_CLASSES).contains(classes)).ok_or_else(|| {
        JobError::new("data.classes", &format!("expected 1 to {MAX_CLASSES}, found {classes}"))
    })
}

#[cfg(test)]
mod test_support;
