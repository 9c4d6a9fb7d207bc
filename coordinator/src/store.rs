//! Durable state: an embedded database for identities, jobs and their notices; files for checkpoints, uploads
//! and step journals (design, section 9).

pub mod checkpoint;
mod durable;
pub mod journal;
pub mod uploads;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use fail::fail_point;
use lookbehind_common::ids::{ClusterId, Incarnation, JobId};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::state::{JobRecord, Notice};

/// Version of everything under the state folder; a newer one is refused.
const FORMAT: u64 = 1;

const DATABASE: &str = "state.redb";
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const JOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("jobs");
const NOTICES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("notices");

/// What can go wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another coordinator has it.
    #[error("state {path}: another coordinator is using it")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("state database: {0}")]
    Database(#[from] Box<redb::Error>),
    /// The state is of a newer version of the service.
    #[error("state {path}: has format {found}, this build knows formats up to {FORMAT}; use a newer build")]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: String,
    },
    /// The database is closed because of an earlier failure.
    #[error("state database: it could not be opened again after an earlier failure")]
    Closed,
    /// Something stored is whole but of no use here: of a newer format, for another model or other data.
    #[error("{what}: {reason}")]
    Unfit {
        /// What it is.
        what: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// Something stored cannot be read.
    #[error("{what}: {reason}")]
    Damaged {
        /// What it is.
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

    /// Whether what was read can never be used again: not where the disk failed, or it is only not for us.
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

fn database<E: Into<redb::Error>>(error: E) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

/// The state folder, held by this process alone.
#[derive(Debug)]
pub struct Store {
    /// `None` after a failure until it can be opened again.
    database: RwLock<Option<Database>>,
    root: PathBuf,
    /// Locked as long as the process lives, also while the database is closed.
    _lock: File,
}

/// What a start finds.
#[derive(Debug)]
pub struct Opened {
    /// The state folder.
    pub store: Store,
    /// Made with the state.
    pub cluster: ClusterId,
    /// This start.
    pub incarnation: Incarnation,
    /// All jobs.
    pub records: Vec<JobRecord>,
}

impl Store {
    /// Opens the state folder, or makes one with `fresh` as its cluster's identity, and begins an incarnation that is
    /// `random` above the next one.
    ///
    /// # Errors
    /// When it is in use, newer, damaged, or cannot be written.
    pub fn open(root: &Path, fresh: ClusterId, random: u32) -> Result<Opened, StoreError> {
        std::fs::create_dir_all(root.join("jobs")).map_err(StoreError::io(root))?;
        let lock = lock(root)?;
        let database = Database::create(root.join(DATABASE)).map_err(database)?;
        let store = Self { database: RwLock::new(Some(database)), root: root.to_owned(), _lock: lock };
        let (cluster, incarnation) = store.begin_incarnation(fresh, random)?;
        let records = store.records()?;
        durable::sync_folder(root)?;
        Ok(Opened { store, cluster, incarnation, records })
    }

    fn begin_incarnation(
        &self,
        fresh: ClusterId,
        random: u32,
    ) -> Result<(ClusterId, Incarnation), StoreError> {
        let transaction = self.begin_write()?;
        let identity = {
            let mut meta = transaction.open_table(META).map_err(database)?;
            let get = |key: &str| -> Result<Option<String>, StoreError> {
                Ok(meta.get(key).map_err(database)?.map(|value| value.value().to_owned()))
            };
            let format = get("format")?.unwrap_or_else(|| FORMAT.to_string());
            if format.parse::<u64>().map_or(true, |found| found > FORMAT) {
                return Err(StoreError::Newer { path: self.root.clone(), found: format });
            }
            let cluster = get("cluster")?.map_or(fresh, ClusterId);
            // A number that was used before would let messages of an earlier start in.
            let earlier = match get("incarnation")? {
                None => 0,
                Some(text) => text.parse::<u64>().map_err(|_| StoreError::Damaged {
                    what: "incarnation".into(),
                    reason: format!("expected a number, found {text:?}"),
                })?,
            };
            let incarnation = Incarnation(earlier + 1 + u64::from(random));
            meta.insert("format", format.as_str()).map_err(database)?;
            meta.insert("cluster", cluster.0.as_str()).map_err(database)?;
            meta.insert("incarnation", incarnation.to_string().as_str()).map_err(database)?;
            (cluster, incarnation)
        };
        transaction.open_table(JOBS).map_err(database)?;
        transaction.open_table(NOTICES).map_err(database)?;
        transaction.commit().map_err(database)?;
        Ok(identity)
    }

    fn records(&self) -> Result<Vec<JobRecord>, StoreError> {
        let transaction = self.begin_read()?;
        let jobs = transaction.open_table(JOBS).map_err(database)?;
        let mut records = Vec::new();
        for entry in jobs.iter().map_err(database)? {
            let (id, bytes) = entry.map_err(database)?;
            records.push(decode(&format!("job {}", id.value()), bytes.value())?);
        }
        Ok(records)
    }

    /// Stores a job's record and what is new about it; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written; what was stored before stands, and a later call may succeed.
    pub fn put(&self, record: &JobRecord, notice: Option<&Notice>) -> Result<(), StoreError> {
        self.try_put(record, notice).inspect_err(|_| self.reopen())
    }

    /// After a failed write the database takes no more until it is opened again.
    fn reopen(&self) {
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *held = None;
        match Database::open(self.root.join(DATABASE)) {
            Ok(database) => *held = Some(database),
            Err(error) => tracing::error!(%error, "the state database cannot be opened again"),
        }
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().ok_or(StoreError::Closed)?.begin_read().map_err(database)
    }

    fn begin_write(&self) -> Result<redb::WriteTransaction, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().ok_or(StoreError::Closed)?.begin_write().map_err(database)
    }

    fn try_put(&self, record: &JobRecord, notice: Option<&Notice>) -> Result<(), StoreError> {
        fail_point!("store::put");
        let transaction = self.begin_write()?;
        {
            let mut jobs = transaction.open_table(JOBS).map_err(database)?;
            jobs.insert(record.id.as_str(), encode(record)?.as_slice()).map_err(database)?;
            if let Some(notice) = notice {
                let mut notices = transaction.open_table(NOTICES).map_err(database)?;
                let key = (record.id.as_str(), notice.revision);
                notices.insert(key, encode(notice)?.as_slice()).map_err(database)?;
            }
        }
        fail_point!("store::written");
        transaction.commit().map_err(database)?;
        fail_point!("store::durable");
        Ok(())
    }

    /// A job's notices after a revision, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn notices(&self, job: &JobId, after: u64, limit: usize) -> Result<Vec<Notice>, StoreError> {
        let transaction = self.begin_read()?;
        let notices = transaction.open_table(NOTICES).map_err(database)?;
        let range = (job.as_str(), after.saturating_add(1))..=(job.as_str(), u64::MAX);
        let mut found = Vec::new();
        for entry in notices.range(range).map_err(database)?.take(limit) {
            let (_, bytes) = entry.map_err(database)?;
            found.push(decode(&format!("notices of job {job}"), bytes.value())?);
        }
        Ok(found)
    }

    /// The folder of a job's files.
    pub fn job_folder(&self, job: &JobId) -> PathBuf {
        self.root.join("jobs").join(job.as_str())
    }

    /// The folder of uploaded files.
    pub fn uploads_folder(&self) -> PathBuf {
        self.root.join("uploads")
    }
}

/// Takes the lock on a state folder; it is given back with the file.
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
