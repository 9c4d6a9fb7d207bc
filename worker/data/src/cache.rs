//! The folder that keeps remote files, and what was made of data files: only complete ones, under names that identify their
//! content. The least recently used files are removed to make room for new ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// First characters of the names of unfinished files.
const PART: &str = ".part-";
/// Age after the last write at which an unfinished file counts as abandoned.
const LEFTOVER: Duration = Duration::from_secs(3600);
/// Length of a finished file's name: a BLAKE3 digest in hexadecimal.
const NAME: usize = 64;

/// The cache folder.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    limit: u64,
    /// Number of users of each file in use; such files are not removed.
    used: Arc<Mutex<BTreeMap<PathBuf, usize>>>,
}

/// A file of the cache, which is not removed before this is dropped.
#[derive(Debug)]
pub(crate) struct Cached {
    path: PathBuf,
    used: Arc<Mutex<BTreeMap<PathBuf, usize>>>,
}

/// A file that is being written; it is removed on drop unless it has been finished.
pub(crate) struct Unfinished {
    pub(crate) file: File,
    path: PathBuf,
}

impl Cached {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        let mut used = lock(&self.used);
        if let Some(count) = used.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.path);
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn lock(used: &Mutex<BTreeMap<PathBuf, usize>>) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    pub(crate) fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit, used: Arc::default() }
    }

    #[cfg(feature = "remote")]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The file of this name, if the cache has it; with a length, only if it has that length.
    pub(crate) fn find(&self, name: &str, length: Option<u64>) -> Option<Cached> {
        let path = self.folder.join(name);
        let cached = self.hold(path);
        // A link is no file of this cache, whatever it leads to.
        let found = fs::symlink_metadata(&cached.path).ok();
        let found =
            found.filter(|found| found.is_file() && length.is_none_or(|length| found.len() == length));
        found.map(|_| {
            // The modification time is the time of last use. If it cannot be set, the file is merely removed earlier.
            let _ = File::open(&cached.path).and_then(|file| file.set_modified(SystemTime::now()));
            cached
        })
    }

    fn hold(&self, path: PathBuf) -> Cached {
        *lock(&self.used).entry(path.clone()).or_default() += 1;
        Cached { path, used: Arc::clone(&self.used) }
    }

    /// Makes room for a file of `length` bytes, and creates it under a temporary name.
    pub(crate) fn begin(&self, length: u64) -> io::Result<Unfinished> {
        // Files in it are used without further checks, so only the owner may write there.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.make_room(length)?;
        let number = unused_name()?;
        let path = self.folder.join(format!("{PART}{number}"));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Unfinished { file, path })
    }

    /// Gives a complete file its final name. Its content is synchronised first, so that a name never stands for an
    /// incomplete file, and it is marked as used before, so that it is not removed in between.
    pub(crate) fn finish(&self, unfinished: Unfinished, name: &str) -> io::Result<Cached> {
        unfinished.file.sync_all()?;
        let path = self.folder.join(name);
        let cached = self.hold(path.clone());
        fs::rename(&unfinished.path, path)?;
        Ok(cached)
    }

    /// Removes files that nobody uses until a file of `length` bytes has room.
    pub(crate) fn make_room(&self, length: u64) -> io::Result<()> {
        let mut files = self.files()?;
        files.sort_by_key(|(_, modified, _)| *modified);
        let mut taken: u64 = files.iter().map(|(_, _, length)| length).sum();
        for (path, _, size) in files {
            if taken.saturating_add(length) <= self.limit {
                break;
            }
            if !lock(&self.used).contains_key(&path) && fs::remove_file(&path).is_ok() {
                taken -= size;
            }
        }
        if taken.saturating_add(length) <= self.limit {
            return Ok(());
        }
        let problem =
            format!("{length} bytes have no room in the cache: {taken} of {} are in use", self.limit);
        Err(io::Error::other(problem))
    }

    /// The finished files with their times of last use and lengths. Abandoned files are removed.
    fn files(&self) -> io::Result<Vec<(PathBuf, SystemTime, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified()?;
            if name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                files.push((entry.path(), modified, metadata.len()));
            } else if name.starts_with(PART) && modified.elapsed().is_ok_and(|age| age > LEFTOVER) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(files)
    }
}

/// A file that nobody else sees and that goes away with its last use, where there is no cache.
pub(crate) fn nameless() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("{PART}{}", unused_name()?));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// A name that no other process and no other call uses.
fn unused_name() -> io::Result<String> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(format!("{}-{}-{next}", std::process::id(), now.as_nanos()))
}

#[cfg(test)]
mod tests;
