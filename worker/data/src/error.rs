//! What can be wrong with a data set, and whose fault it is.

use std::io;
use std::path::PathBuf;

use ::safetensors::{Dtype, SafeTensorError};
use lookbehind_common::job::JobError;

use super::{ImageProblem, Split};

/// Why a data set cannot be loaded or read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A parameter of the job is wrong.
    #[error(transparent)]
    Parameter(#[from] JobError),
    /// What a job asks for was left out when this program was built.
    #[error("{key}: {}", Self::not_built(what, feature))]
    NotBuilt {
        /// The job's key that asks for it.
        key: String,
        /// What cannot be read.
        what: &'static str,
        /// The feature that reads it.
        feature: &'static str,
    },
    /// This worker's data folder cannot be used.
    #[error("data folder {folder:?}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file in the data folder cannot be used.
    #[error("data file {file:?}: {problem}")]
    File {
        /// The file as the job names it.
        file: String,
        /// What is wrong.
        problem: FileProblem,
    },
    /// A split that a job asks for has no samples.
    #[error("{split} split: found 0 samples in {files}, expected at least 1")]
    Empty {
        /// The split.
        split: Split,
        /// What it was read from, in words.
        files: String,
    },
    /// The samples of a data set contradict each other.
    #[error("{split} split: {problem}")]
    Content {
        /// The split.
        split: Split,
        /// What is wrong, with the value found and the one expected.
        problem: String,
    },
    /// The data set is larger than this worker's limit.
    #[error("the data set takes {needed} bytes in memory, this worker's limit is {limit}")]
    Memory {
        /// Bytes that its samples take.
        needed: u64,
        /// Bytes that they may take.
        limit: u64,
    },
    /// A sample that is not there was asked for.
    #[error("sample {sample}: the {split} split has {samples} samples")]
    NoSuchSample {
        /// The number asked for.
        sample: u64,
        /// The split.
        split: Split,
        /// Its size.
        samples: u64,
    },
}

impl DataError {
    /// Says what a build without a feature lacks.
    #[cfg_attr(all(feature = "parquet", feature = "remote"), allow(dead_code, reason = "nothing is lacking"))]
    pub(crate) fn not_built(what: &str, feature: &str) -> String {
        format!("this build reads no {what}: build with --features {feature}")
    }

    /// Whether every worker would fail alike, because the job asks for what cannot be.
    pub fn is_fault_of_job(&self) -> bool {
        matches!(self, DataError::Parameter(_))
    }
}

/// What is wrong with a data file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It is not there.
    #[error("not found in this worker's data folder {folder:?}")]
    NotFound {
        /// The folder.
        folder: PathBuf,
    },
    /// A link leads out of the data folder.
    #[error("a link leads out of this worker's data folder {folder:?}")]
    LeavesFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder, device or pipe.
    #[error("not a regular file")]
    NotRegular,
    /// It lies where this worker may not read.
    #[error("not below a URL that this worker may read (--data-url): {allowed}")]
    NotAllowed {
        /// What it may read.
        allowed: String,
    },
    /// It could not be fetched.
    #[error("cannot be fetched: {reason}")]
    Fetch {
        /// Why.
        reason: String,
    },
    /// A file where a folder is needed.
    #[error("not a folder")]
    NotFolder,
    /// The system refuses to read it.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// Too short for the 8 bytes that every safetensors file begins with.
    #[error("not a safetensors file: {found} bytes, expected at least 8")]
    TooShort {
        /// Its length.
        found: u64,
    },
    /// The header is longer than any that we read.
    #[error("not a usable safetensors file: header of {found} bytes, expected at most {limit}")]
    HeaderTooLong {
        /// Length that the file claims.
        found: u64,
        /// Greatest length that is read.
        limit: u64,
    },
    /// The header does not fit into the file.
    #[error("truncated: header of {header} bytes in a file of {length}")]
    HeaderBeyondEnd {
        /// Length that the file claims.
        header: u64,
        /// The file's length.
        length: u64,
    },
    /// The header is damaged, or its tensors overlap or leave gaps.
    #[error("damaged safetensors header: {0}")]
    Header(SafeTensorError),
    /// The header is no JSON of the right form.
    #[error("damaged safetensors header: {0}")]
    HeaderSyntax(serde_json::Error),
    /// The file's length is not what the header's tensors need.
    #[error("length {found} bytes, expected {expected} by its header")]
    Length {
        /// The file's length.
        found: u64,
        /// What header and tensors need.
        expected: u64,
    },
    /// It lacks a tensor.
    #[error("tensor {tensor:?}: missing")]
    NoTensor {
        /// The tensor.
        tensor: &'static str,
    },
    /// A tensor has the wrong type.
    #[error("tensor {tensor:?}: type {found}, expected {expected}")]
    Type {
        /// The tensor.
        tensor: &'static str,
        /// Its type.
        found: Dtype,
        /// The types that are read.
        expected: &'static str,
    },
    /// A tensor has the wrong shape.
    #[error("tensor {tensor:?}: shape {found:?}, expected {expected}")]
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected.
        expected: String,
    },
    /// It begins like a file of another kind.
    #[error(
        "not a file of the kind {format}: it begins with the bytes {found:02x?}, expected {expected:02x?}"
    )]
    Magic {
        /// The kind.
        format: &'static str,
        /// What it begins with.
        found: Vec<u8>,
        /// What it should begin with.
        expected: [u8; 4],
    },
    /// It ends too early.
    #[error("truncated: {what} has {found} of {expected} bytes")]
    Cut {
        /// What is cut.
        what: String,
        /// Bytes that are there.
        found: u64,
        /// Bytes that should be.
        expected: u64,
    },
    /// Something follows that should not.
    #[error("bytes follow after {after}")]
    Trailing {
        /// What should be the last.
        after: String,
    },
    /// Something is there in the wrong number.
    #[error("{found} {what}, expected {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: String,
    },
    /// An image cannot be used.
    #[error("{place}: {problem}")]
    Image {
        /// Which one: row and column, or the like.
        place: String,
        /// What is wrong.
        problem: ImageProblem,
    },
    /// A label, or another value of a table, cannot be used.
    #[error("{place}: found {found}, expected {expected}")]
    Cell {
        /// Row and column, or the like.
        place: String,
        /// The value.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A table lacks a column.
    #[error("column {column:?}: missing; there are {present}")]
    NoColumn {
        /// The column.
        column: String,
        /// The columns that are there.
        present: String,
    },
    /// A column of a table has the name of another.
    #[error("column {column:?}: stands in the header more than once")]
    ColumnTwice {
        /// The column.
        column: String,
    },
    /// A column of a table has the wrong type.
    #[error("column {column:?}: type {found}, expected {expected}")]
    ColumnType {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// The types that are read.
        expected: &'static str,
    },
    /// It is no table of the format.
    #[error("not a usable {format} file: {reason}")]
    Damaged {
        /// The format.
        format: &'static str,
        /// What its reader says.
        reason: String,
    },
    /// A number of a row is impossible.
    #[error("tensor {tensor:?}, row {row}: found {found}, expected {expected}")]
    Value {
        /// The tensor.
        tensor: &'static str,
        /// The row.
        row: usize,
        /// The number.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl FileProblem {
    /// An image at a place is wrong.
    pub(super) fn image(place: &str, problem: ImageProblem) -> Self {
        Self::Image { place: place.to_owned(), problem }
    }

    /// A label at a place is none of the classes.
    pub(super) fn label(place: &str, found: impl ToString, classes: usize) -> Self {
        let expected = format!("a class from 0 to {}", classes - 1);
        Self::Cell { place: place.to_owned(), found: found.to_string(), expected }
    }
}
