//! Errors of credentials.

use std::path::{Path, PathBuf};

use crate::tokens::EqualTokens;

/// Why credentials cannot be used or created.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file has unexpected content.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What the file should contain.
        expected: &'static str,
        /// What it contains instead.
        found: String,
    },
    /// A name that is not allowed in a certificate or token.
    #[error("name {0:?}: expected 1 to 64 letters, digits, '-', '_' or '.', not beginning with '.'")]
    Name(String),
    /// A string that is not a host name or address.
    #[error("host {0:?}: expected a name like gpu-1.example or an address, without scheme and port")]
    Host(String),
    /// Two of the requested identities would share one folder.
    #[error("name {0:?}: is used for two folders")]
    NameTaken(String),
    /// Two folders hold the same token.
    #[error("{0}; delete the file `token` of one of them, or its entry in tokens.toml. Nothing was written")]
    EqualTokens(EqualTokens),
    /// The system has no randomness, or the library cannot sign.
    #[error("{0}")]
    System(String),
}

impl IdentityError {
    pub(crate) fn content(path: &Path, expected: &'static str, found: impl std::fmt::Display) -> Self {
        Self::Content { path: path.to_owned(), expected, found: found.to_string() }
    }
}
