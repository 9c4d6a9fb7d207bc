//! What is wrong with a file of a data set.

use std::io;
use std::path::PathBuf;

use ::safetensors::{Dtype, SafeTensorError};
use lookbehind_common::digest::Digest;

use crate::ImageProblem;
use crate::folder::endings;
use crate::foreign::in_place_of_bytes;

/// Why a data file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The file does not exist.
    #[error("not found in this worker's data folder {folder:?}")]
    NotFound {
        /// Path of the data folder.
        folder: PathBuf,
    },
    /// A link leads out of the data folder.
    #[error("a link leads out of this worker's data folder {folder:?}")]
    LeavesFolder {
        /// Path of the data folder.
        folder: PathBuf,
    },
    /// The path names a folder, device or pipe.
    #[error("not a regular file")]
    NotRegular,
    /// The URL is not among those that this worker may read.
    #[error("not below a URL that this worker may read (--data-url): {allowed}")]
    NotAllowed {
        /// The URL prefixes that it may read.
        allowed: String,
    },
    /// The file could not be fetched.
    #[error("cannot be fetched: {reason}")]
    Fetch {
        /// Reason.
        reason: String,
    },
    /// The path names a file where a folder is needed.
    #[error("not a folder")]
    NotFolder,
    /// The folder of a class has files, and none of them is an image.
    #[error("{}", no_images(*files, *nested))]
    NoImages {
        /// Files whose names do not end as those of images.
        files: u64,
        /// Images in subfolders, which the job does not ask for.
        nested: u64,
    },
    /// The file is not the one that the index of the data was made of.
    #[error("its content is another one than when it was indexed: BLAKE3 {found}, expected {expected}")]
    OtherContent {
        /// Digest of what is there.
        found: Digest,
        /// Digest in the index.
        expected: Digest,
    },
    /// The operating system cannot read the file.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// Too short for the 8 bytes that every safetensors file begins with.
    #[error("not a safetensors file: {found} bytes, expected at least 8")]
    TooShort {
        /// Length of the file in bytes.
        found: u64,
    },
    /// The header is longer than the limit.
    #[error("not a usable safetensors file: header of {found} bytes, expected at most {limit}")]
    HeaderTooLong {
        /// Length of the header that the file claims, in bytes.
        found: u64,
        /// Longest header that is read, in bytes.
        limit: u64,
    },
    /// The header does not fit into the file.
    #[error("truncated: header of {header} bytes in a file of {length}")]
    HeaderBeyondEnd {
        /// Length of the header that the file claims, in bytes.
        header: u64,
        /// Length of the file in bytes.
        length: u64,
    },
    /// The header is damaged, or its tensors overlap or leave gaps.
    #[error("damaged safetensors header: {0}")]
    Header(SafeTensorError),
    /// The header is not JSON of the expected form.
    #[error("damaged safetensors header: {0}")]
    HeaderSyntax(serde_json::Error),
    /// The file's length is not the one that the header's tensors need.
    #[error("length {found} bytes, expected {expected} by its header")]
    Length {
        /// Length of the file in bytes.
        found: u64,
        /// Bytes that the header and the tensors need.
        expected: u64,
    },
    /// A tensor is missing.
    #[error("tensor {tensor:?}: missing")]
    NoTensor {
        /// Name of the tensor.
        tensor: &'static str,
    },
    /// A tensor has the wrong type.
    #[error("tensor {tensor:?}: type {found}, expected {expected}")]
    Type {
        /// Name of the tensor.
        tensor: &'static str,
        /// Its type in the file.
        found: Dtype,
        /// The types that can be read.
        expected: &'static str,
    },
    /// A tensor has the wrong shape.
    #[error("tensor {tensor:?}: shape {found:?}, expected {expected}")]
    Shape {
        /// Name of the tensor.
        tensor: &'static str,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The expected shape, described for people.
        expected: String,
    },
    /// The file begins with the bytes of another format.
    #[error("not a file of the kind {format}: {}, expected {expected:02x?}", begins_with(found))]
    Magic {
        /// The expected format.
        format: &'static str,
        /// The first bytes of the file.
        found: Vec<u8>,
        /// The first bytes of a file of this format.
        expected: [u8; 4],
    },
    /// Something else stands in the place of the data.
    #[error("{found}")]
    Instead {
        /// What it is, and what was expected or what helps.
        found: String,
    },
    /// A member of an archive cannot be used.
    #[error("its member {name:?} {problem}")]
    Member {
        /// Path of the member.
        name: String,
        /// What it is or has, and what was expected.
        problem: String,
    },
    /// A path leads to nothing in an archive.
    #[error("has no {path:?} in it; there are {present}")]
    NotInArchive {
        /// The path in the archive.
        path: String,
        /// What there is.
        present: String,
    },
    /// The file lies in an archive, where its format is not read.
    #[error("lies in an archive, where {format} is not read: unpack the archive")]
    Packed {
        /// Name of the format.
        format: &'static str,
    },
    /// The file ends too early.
    #[error("truncated: {what} has {found} of {expected} bytes")]
    Cut {
        /// The part of the file that is incomplete.
        what: String,
        /// Bytes of the part that are there.
        found: u64,
        /// Bytes that the part should have.
        expected: u64,
    },
    /// The file goes on after its expected end.
    #[error("bytes follow after {after}")]
    Trailing {
        /// The part that should be the last.
        after: String,
    },
    /// A row or a value is longer than any that is read.
    #[error("{place}: longer than the {limit} bytes that it may have")]
    TooLong {
        /// Its place in the file, such as its row and column.
        place: String,
        /// Most bytes that it may have.
        limit: u64,
    },
    /// Something occurs in the wrong number.
    #[error("{found} {what}, expected {expected}")]
    Count {
        /// What is counted, in the plural.
        what: &'static str,
        /// The number found.
        found: usize,
        /// The number expected, described for people.
        expected: String,
    },
    /// An image cannot be used.
    #[error("{place}: {problem}")]
    Image {
        /// The image's place in the file, such as its row and column.
        place: String,
        /// Reason.
        problem: ImageProblem,
    },
    /// A file that a row of a table names cannot be used.
    #[error("{place}: file {file:?}: {problem}")]
    Named {
        /// The row and column.
        place: String,
        /// The file.
        file: String,
        /// Reason.
        problem: Box<FileProblem>,
    },
    /// A label, or another value of a table, cannot be used.
    #[error("{place}: found {found}, expected {expected}")]
    Cell {
        /// The value's place in the file, such as its row and column.
        place: String,
        /// The value as text.
        found: String,
        /// The expected value, described for people.
        expected: String,
    },
    /// A table lacks a column.
    #[error("column {column:?}: missing; there are {present}")]
    NoColumn {
        /// Name of the column.
        column: String,
        /// Names of the columns that are there.
        present: String,
    },
    /// Two columns of a table have the same name.
    #[error("column {column:?}: stands in the header more than once; there are {present}")]
    ColumnTwice {
        /// Name of the column.
        column: String,
        /// Names of the columns that are there.
        present: String,
    },
    /// A column that a job declares to be an input of some kind is none.
    #[error("column {column:?}: {problem}")]
    NoInput {
        /// Name of the column.
        column: String,
        /// What it is needed for.
        problem: String,
    },
    /// The first line of a table has numbers in the place of names.
    #[error("the first line has numbers only, and no column {column:?}: with header = false it is a row")]
    NoHeader {
        /// Name of the column that was looked for.
        column: String,
    },
    /// A column of a table has the numbers of its rows.
    #[error(
        "column {column:?}: counts the rows, expected something that samples have; exclude = [{column:?}] leaves it out, \
         and columns = [...] with its name keeps it"
    )]
    RowNumbers {
        /// Name of the column.
        column: String,
    },
    /// A column of a table has the wrong type.
    #[error("column {column:?}: type {found}, expected {expected}")]
    ColumnType {
        /// Name of the column.
        column: String,
        /// Its type in the file.
        found: String,
        /// The types that can be read.
        expected: String,
    },
    /// The file is not a valid table of its format.
    #[error("not a usable {format} file: {reason}")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// Error of the format's reader.
        reason: String,
    },
    /// A value in a row of a tensor is invalid.
    #[error("tensor {tensor:?}, row {row}: found {found}, expected {expected}")]
    Value {
        /// Name of the tensor.
        tensor: &'static str,
        /// Index of the row.
        row: usize,
        /// The value as text.
        found: String,
        /// The expected value, described for people.
        expected: String,
    },
}

/// What the first bytes of a file are.
fn begins_with(found: &[u8]) -> String {
    let known = in_place_of_bytes(found).map(str::to_owned);
    known.unwrap_or_else(|| format!("it begins with the bytes {:02x?}", &found[..found.len().min(4)]))
}

/// Message about the folder of a class without images.
fn no_images(files: u64, nested: u64) -> String {
    match (files, nested) {
        (0, _) => format!("a class whose {nested} images lie in subfolders: nested = true reads them"),
        (_, 0) => format!("a class without images: none of its {files} files ends in {}", endings()),
        _ => format!(
            "a class without images: none of its {files} files ends in {}; nested = true reads the {nested} images in \
             its subfolders",
            endings()
        ),
    }
}

impl FileProblem {
    /// A problem of the image at a place.
    pub(crate) fn image(place: &str, problem: ImageProblem) -> Self {
        Self::Image { place: place.to_owned(), problem }
    }

    /// A problem of a member of an archive.
    pub(crate) fn member(name: &str, problem: impl Into<String>) -> Self {
        Self::Member { name: name.to_owned(), problem: problem.into() }
    }

    /// A label at a place that is not one of the classes.
    pub(crate) fn label(place: &str, found: impl ToString, classes: usize) -> Self {
        let expected = format!("a class from 0 to {}", classes - 1);
        Self::Cell { place: place.to_owned(), found: found.to_string(), expected }
    }
}
