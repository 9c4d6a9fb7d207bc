//! Durable state: an embedded database for identities, jobs, their notices and the records of uploads; files for
//! checkpoints, uploads and step journals.

pub mod checkpoint;
mod copy;
pub(crate) mod durable;
mod format1;
pub mod journal;
pub(crate) mod private;
mod records;
pub mod uploads;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use lookbehind_common::ids::{ClusterId, Incarnation, JobId};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::state::Stored;

/// Format version of everything in the state folder. Format 1 is converted, a newer one is refused.
const FORMAT: u64 = 2;

/// Name of the database in the state folder.
pub(crate) const DATABASE: &str = "state.redb";
const META: TableDefinition<'static, &str, &str> = TableDefinition::new("meta");

/// Memory in bytes for pages of the database: what is read and written often is far less.
const CACHE: usize = 32 << 20;

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
    #[error("state database: {0}")]
    Database(#[from] Box<redb::Error>),
    /// The state was written by a newer version of the service.
    #[error("state {path}: has format {found}, this build knows formats up to {FORMAT}; use a newer build")]
    Newer {
        /// The state folder.
        path: PathBuf,
        /// The format that it states.
        found: String,
    },
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

    pub(crate) fn damaged(what: &Path, reason: impl ToString) -> Self {
        Self::Damaged { what: what.display().to_string(), reason: reason.to_string() }
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn database_error<E: Into<redb::Error>>(error: E) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

/// The state folder, locked by this process. The lock is released on drop.
#[derive(Debug)]
pub struct Store {
    /// `None` after a failed write, until the database could be opened again.
    database: RwLock<Option<Database>>,
    root: PathBuf,
    /// Locked for the lifetime of the store, also while the database is closed.
    _lock: File,
}

/// What [`Store::open`] returns.
#[derive(Debug)]
pub struct Opened {
    /// The opened state folder.
    pub store: Store,
    /// Identity of the cluster; the same for all starts on this folder.
    pub cluster: ClusterId,
    /// Incarnation that this start began; higher than all earlier ones.
    pub incarnation: Incarnation,
    /// Jobs and uploads.
    pub stored: Stored,
    /// Deleted jobs whose files are not removed yet.
    pub removals: Vec<JobId>,
}

impl Store {
    /// Opens the state folder, or creates it with `fresh` as the identity of its cluster, and begins an incarnation
    /// that is 1 + `random` above the last one. With a random step, copies of a state folder do not begin the same
    /// incarnation, for example a restored backup and the state after it.
    ///
    /// # Errors
    /// If it is in use, newer, damaged, or cannot be written.
    pub fn open(root: &Path, fresh: ClusterId, random: u32) -> Result<Opened, StoreError> {
        private::make_folder(root)?;
        std::fs::create_dir_all(root.join("jobs")).map_err(StoreError::io(root))?;
        // Separate from the database, because it must hold while that is closed as well.
        let lock = lock(root)?;
        let mut database = builder().create(root.join(DATABASE)).map_err(database_error)?;
        format1::convert(&mut database, root)?;
        let store = Self { database: RwLock::new(Some(database)), root: root.to_owned(), _lock: lock };
        let (cluster, incarnation) = store.begin_incarnation(fresh, random)?;
        let (stored, removals) = store.stored()?;
        durable::sync_folder(root)?;
        Ok(Opened { store, cluster, incarnation, stored, removals })
    }

    fn begin_incarnation(
        &self,
        fresh: ClusterId,
        random: u32,
    ) -> Result<(ClusterId, Incarnation), StoreError> {
        let transaction = self.begin_write()?;
        let identity = {
            let mut meta = transaction.open_table(META).map_err(database_error)?;
            let get = |key: &str| -> Result<Option<String>, StoreError> {
                Ok(meta.get(key).map_err(database_error)?.map(|value| value.value().to_owned()))
            };
            let cluster = get("cluster")?.map_or(fresh, ClusterId);
            // Must never repeat: with an incarnation that was used before, messages of that start would be accepted.
            let earlier = match get("incarnation")? {
                None => 0,
                Some(text) => text.parse::<u64>().map_err(|_| StoreError::Damaged {
                    what: "incarnation".into(),
                    reason: format!("expected a number, found {text:?}"),
                })?,
            };
            let incarnation = Incarnation(earlier + 1 + u64::from(random));
            meta.insert("format", FORMAT.to_string().as_str()).map_err(database_error)?;
            meta.insert("cluster", cluster.0.as_str()).map_err(database_error)?;
            meta.insert("incarnation", incarnation.to_string().as_str()).map_err(database_error)?;
            (cluster, incarnation)
        };
        records::create_tables(&transaction)?;
        transaction.commit().map_err(database_error)?;
        Ok(identity)
    }

    /// Closes and opens the database: after a failed write it accepts no other one until then.
    fn reopen(&self) {
        // Under the write lock from close to open: readers and writers see an open database or get `Closed`.
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *held = None;
        match builder().open(self.root.join(DATABASE)) {
            Ok(database) => *held = Some(database),
            Err(error) => tracing::error!(%error, "the state database cannot be opened again"),
        }
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().ok_or(StoreError::Closed)?.begin_read().map_err(database_error)
    }

    fn begin_write(&self) -> Result<redb::WriteTransaction, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().ok_or(StoreError::Closed)?.begin_write().map_err(database_error)
    }

    /// The state folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a job's files; it may not exist yet.
    pub fn job_folder(&self, job: &JobId) -> PathBuf {
        self.root.join("jobs").join(job.as_str())
    }

    /// The folder of uploaded files; it may not exist yet.
    pub fn uploads_folder(&self) -> PathBuf {
        self.root.join(uploads::FOLDER)
    }
}

/// Locks a state folder. The lock is released when the file is dropped.
fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = File::create(&path).map_err(StoreError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: root.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io(&path)(error)),
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Damaged { what: "record".into(), reason: error.to_string() })
}

fn decode<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|error| StoreError::Damaged { what: what.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
