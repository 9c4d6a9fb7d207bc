//! Errors of the durable state.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lookbehind_common::model_file::ModelFileError;

use super::{DATABASE, FORMAT};
use crate::state::StorageFailure;

/// Errors of the durable state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has locked the state folder.
    #[error("state {path}: another coordinator is using it")]
    InUse {
        /// The state folder.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// An operation of the database failed.
    #[error("{path}: {source}")]
    Database {
        /// The database.
        path: PathBuf,
        /// Error of the database.
        source: Box<redb::Error>,
    },
    /// The database is missing or empty beside the files of jobs.
    #[error(
        "{path}: is missing or empty, but {jobs} has the files of jobs; restore it from a backup, or move {jobs} away to \
         begin a new cluster"
    )]
    Lost {
        /// The database.
        path: PathBuf,
        /// The folder with the files of jobs.
        jobs: PathBuf,
    },
    /// The state was written by a newer version of the service.
    #[error("state {path}: has format {found}, this build knows formats up to {FORMAT}; use a newer build")]
    Newer {
        /// The state folder.
        path: PathBuf,
        /// The format that it states.
        found: String,
    },
    /// Nothing is to be written because of an earlier failure.
    #[error("{0}")]
    Failing(StorageFailure),
    /// The database is closed because of an earlier failure.
    #[error("state database: it could not be opened again after an earlier failure")]
    Closed,
    /// Something stored is undamaged but cannot be used here: it has another format, or is for another model or data.
    #[error("{what}: {reason}")]
    Unfit {
        /// What cannot be used, often a path.
        what: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// Something stored is damaged.
    #[error("{what}: {reason}")]
    Damaged {
        /// What is damaged, often a path.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn unfit(what: &Path, reason: impl ToString) -> Self {
        Self::Unfit { what: what.display().to_string(), reason: reason.to_string() }
    }

    /// Whether the stored data is lost for good: false if only the disk failed, or if the data is undamaged but unfit.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The error with the whole path of the database, if it is one of the database: where it arises, only the
    /// transaction is at hand.
    pub(super) fn in_folder(self, root: &Path) -> Self {
        match self {
            Self::Database { source, .. } => Self::Database { path: root.join(DATABASE), source },
            other => other,
        }
    }

    /// The error of a model file: of the disk if it cannot be written, else of its content.
    pub(super) fn of_model_file(path: &Path, error: ModelFileError) -> Self {
        match error {
            ModelFileError::Write { source } => Self::Io { path: path.to_owned(), source },
            content => Self::damaged(path, content),
        }
    }

    /// Whether there is no room on the disk, or no more for this user.
    pub(crate) fn is_full(&self) -> bool {
        let kind = match self {
            Self::Io { source, .. } => source.kind(),
            Self::Database { source, .. } => match source.as_ref() {
                redb::Error::Io(source) => source.kind(),
                _ => return false,
            },
            _ => return false,
        };
        matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }

    pub(crate) fn damaged(what: &Path, reason: impl ToString) -> Self {
        Self::Damaged { what: what.display().to_string(), reason: reason.to_string() }
    }
}

/// The error of an operation on the database; see [`StoreError::in_folder`].
pub(super) fn database_error<E: Into<redb::Error>>(error: E) -> StoreError {
    StoreError::Database { path: DATABASE.into(), source: Box::new(error.into()) }
}
