//! What can be wrong with credentials.

use std::path::{Path, PathBuf};

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong with it.
        found: String,
    },
    /// A name that a certificate or token cannot have.
    #[error("name {0:?}: expected 1 to 64 letters, digits, '-', '_' or '.', not beginning with '.'")]
    Name(String),
    /// Something that is no host.
    #[error("host {0:?}: expected a name like gpu-1.example or an address, without scheme and port")]
    Host(String),
    /// Two of the folders that were asked for are one.
    #[error("name {0:?}: stands for two folders")]
    NameTaken(String),
    /// The system gives no random numbers, or the library cannot sign.
    #[error("{0}")]
    System(String),
}

impl IdentityError {
    pub(crate) fn content(path: &Path, expected: &'static str, found: impl std::fmt::Display) -> Self {
        Self::Content { path: path.to_owned(), expected, found: found.to_string() }
    }
}
