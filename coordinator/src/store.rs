//! Durable state: an embedded database for identities, jobs, their notices and the records of uploads; files for
//! checkpoints, uploads and step journals; and a reserve of room for the moment in which the disk is full.

pub mod checkpoint;
mod copy;
pub(crate) mod durable;
mod error;
mod format1;
pub mod journal;
pub(crate) mod private;
mod records;
mod reserve;
pub(crate) mod sealed;
pub mod uploads;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use lookbehind_common::ids::{ClusterId, Incarnation, JobId};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

pub use error::StoreError;
use error::database_error;
use reserve::Reserve;

use crate::state::{StorageFailure, Stored};

/// Format version of everything in the state folder. Format 1 is converted, a newer one is refused.
const FORMAT: u64 = 2;

/// Name of the database in the state folder.
pub(crate) const DATABASE: &str = "state.redb";
const META: TableDefinition<'static, &str, &str> = TableDefinition::new("meta");

/// Memory in bytes for pages of the database: what is read and written often is far less.
const CACHE: usize = 32 << 20;

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// The state folder, locked by this process. The lock is released on drop.
#[derive(Debug)]
pub struct Store {
    /// `None` after a failed write, until the database could be opened again.
    database: RwLock<Option<Database>>,
    root: PathBuf,
    reserve: Reserve,
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
        Self::open_folder(root, fresh, random).map_err(|error| error.in_folder(root))
    }

    fn open_folder(root: &Path, fresh: ClusterId, random: u32) -> Result<Opened, StoreError> {
        private::make_folder(root)?;
        std::fs::create_dir_all(root.join("jobs")).map_err(StoreError::io(root))?;
        // Separate from the database, because it must hold while that is closed as well.
        let lock = lock(root)?;
        check_not_lost(root)?;
        let mut database = builder().create(root.join(DATABASE)).map_err(database_error)?;
        format1::convert(&mut database, root)?;
        let (database, root, reserve) = (RwLock::new(Some(database)), root.to_owned(), Reserve::of(root));
        let store = Self { database, root, reserve, _lock: lock };
        let (cluster, incarnation) = store.begin_incarnation(fresh, random)?;
        let (stored, removals) = store.stored()?;
        durable::sync_folder(&store.root)?;
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
        // If it cannot be opened, later calls get `Closed`; the failed write was reported.
        *held = builder().open(self.root.join(DATABASE)).ok();
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().ok_or(StoreError::Closed)?.begin_read().map_err(database_error)
    }

    fn begin_write(&self) -> Result<redb::WriteTransaction, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().ok_or(StoreError::Closed)?.begin_write().map_err(database_error)
    }

    /// Why the state cannot be stored; `None` if it can. While it cannot, nothing more is to be promised.
    pub fn failure(&self) -> Option<StorageFailure> {
        self.reserve.failure()
    }

    /// Notes that a file could not be written, and frees the reserved room for what must be stored nevertheless.
    pub fn note_failure(&self, error: &StoreError) {
        self.reserve.give_up(error);
    }

    /// Tries to reserve room again after a failure, and opens the database if that has failed. [`Self::failure`] stays until
    /// [`Self::restore`].
    ///
    /// # Errors
    /// If there is no room, or the disk still fails.
    pub fn renew_reserve(&self) -> Result<(), StoreError> {
        self.reserve.renew()?;
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen();
        }
        Ok(())
    }

    /// Notes that all that waited is stored. Returns whether the state can be stored again, which it can if the reserved
    /// room is still there.
    pub fn restore(&self) -> bool {
        self.reserve.restore()
    }

    /// The state folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a job's files; it may not exist yet.
    pub fn job_folder(&self, job: &JobId) -> PathBuf {
        self.root.join("jobs").join(job.as_str())
    }

    /// Size in bytes of all files of a job.
    ///
    /// # Errors
    /// If they cannot be examined.
    pub fn file_bytes(&self, job: &JobId) -> Result<u64, StoreError> {
        let folder = self.job_folder(job);
        match size_below(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            size => size.map_err(StoreError::io(&folder)),
        }
    }

    /// The folder of uploaded files; it may not exist yet.
    pub fn uploads_folder(&self) -> PathBuf {
        self.root.join(uploads::FOLDER)
    }
}

/// Size in bytes of all files in a folder and in those below.
fn size_below(folder: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(folder)?.try_fold(0, |size, entry| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        Ok(size + if metadata.is_dir() { size_below(&entry.path())? } else { metadata.len() })
    })
}

/// Refuses a state folder whose database has vanished: a new one would begin another cluster, and hide the jobs.
fn check_not_lost(root: &Path) -> Result<(), StoreError> {
    let (path, jobs) = (root.join(DATABASE), root.join("jobs"));
    let is_there = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0);
    let mut entries = std::fs::read_dir(&jobs).map_err(StoreError::io(&jobs))?;
    if is_there || entries.next().is_none() { Ok(()) } else { Err(StoreError::Lost { path, jobs }) }
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
