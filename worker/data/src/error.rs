//! Errors of data sets, and whether the job or this worker is at fault.

mod file;

use std::io;
use std::path::PathBuf;

use lookbehind_common::job::JobError;

use super::Split;

pub use file::FileProblem;

/// Why a data set cannot be loaded or read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A parameter of the job is wrong.
    #[error(transparent)]
    Parameter(#[from] JobError),
    /// The job needs a feature that this program was built without.
    #[error("{key}: {}", Self::not_built(what, feature))]
    NotBuilt {
        /// The job's key that needs it.
        key: String,
        /// What this build cannot read.
        what: &'static str,
        /// The feature that adds it.
        feature: &'static str,
    },
    /// This worker's data folder cannot be used.
    #[error("data folder {folder:?}: {source}")]
    Folder {
        /// Path of the data folder.
        folder: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file in the data folder cannot be used.
    #[error("data file {file:?}: {problem}")]
    File {
        /// The file as the job names it.
        file: String,
        /// Reason.
        problem: FileProblem,
    },
    /// A split that a job asks for has no samples.
    #[error("{split} split: found 0 samples in {files}, expected at least 1")]
    Empty {
        /// The split that is empty.
        split: Split,
        /// The files that it was read from, described for people.
        files: String,
    },
    /// The samples of a data set contradict each other.
    #[error("{split} split: {problem}")]
    Content {
        /// The split with the contradiction.
        split: Split,
        /// The problem, with the value found and the one expected.
        problem: String,
    },
    /// The data set is larger than this worker's limit.
    #[error("the data set takes {needed} bytes in memory, this worker's limit is {limit}")]
    Memory {
        /// Bytes that the samples need.
        needed: u64,
        /// Most bytes that they may take.
        limit: u64,
    },
    /// What is made of the data has no room in the cache, or cannot be written there.
    #[error("data cache (--data-cache, --data-cache-limit): {source}")]
    Cache {
        /// Reason.
        source: io::Error,
    },
    /// The job is no longer wanted, so that its data were not loaded to the end.
    #[error("loading was cancelled")]
    Cancelled,
    /// A sample was requested that the split does not have.
    #[error("sample {sample}: the {split} split has {samples} samples")]
    NoSuchSample {
        /// The index that was requested.
        sample: u64,
        /// The split that was read.
        split: Split,
        /// Number of samples in the split.
        samples: u64,
    },
}

impl DataError {
    /// Message about a feature that this build lacks.
    #[cfg_attr(all(feature = "parquet", feature = "remote"), allow(dead_code, reason = "nothing is lacking"))]
    pub(crate) fn not_built(what: &str, feature: &str) -> String {
        format!("this build reads no {what}: build with --features {feature}")
    }

    /// Whether it says that a file is not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        let problem = if let Self::File { problem, .. } = self { Some(problem) } else { None };
        matches!(
            problem,
            Some(FileProblem::NotFound { .. } | FileProblem::NotInArchive { .. } | FileProblem::NotRegular)
        )
    }

    /// Whether every worker would fail in the same way, because the job is wrong.
    pub fn is_fault_of_job(&self) -> bool {
        matches!(self, DataError::Parameter(_))
    }
}
