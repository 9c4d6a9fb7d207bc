//! Room that is kept free for the moment in which the disk is full: a file of some megabytes, which is given up then. What
//! was decided before anybody knew of it can still be stored, and nothing more is promised until the file is whole again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{StoreError, durable};
use crate::state::StorageFailure;

/// Name of the file in the state folder.
const NAME: &str = "reserve";
/// Size of the file: room for the largest specifications of several jobs, and for thousands of notices.
const BYTES: u64 = 4 << 20;
/// Room that must be free beside the file when it is made, so that training does not go on for a few steps only.
const MORE: u64 = 1 << 20;
/// Size of one write.
const CHUNK: usize = 64 << 10;

/// The reserve of a state folder, and why it was given up.
#[derive(Debug)]
pub(super) struct Reserve {
    folder: PathBuf,
    standing: Mutex<Standing>,
}

/// What is known of the reserve.
#[derive(Debug, Default)]
struct Standing {
    /// `None` while the state can be stored.
    failure: Option<StorageFailure>,
    /// The file was written since the last failure. That it is there does not show that the disk can be written: from one
    /// that is read-only it cannot be removed.
    whole: bool,
}

impl Reserve {
    /// The reserve of a state folder, which is made if it is not there. If there is no room for it, it counts as given up.
    pub(super) fn of(folder: &Path) -> Self {
        let whole = std::fs::metadata(folder.join(NAME)).is_ok_and(|metadata| metadata.len() == BYTES);
        let standing = Mutex::new(Standing { failure: None, whole });
        let reserve = Self { folder: folder.to_owned(), standing };
        if let Err(error) = reserve.renew() {
            reserve.give_up(&error);
        }
        reserve
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the state cannot be stored; `None` if it can.
    pub(super) fn failure(&self) -> Option<StorageFailure> {
        self.standing().failure.clone()
    }

    /// Frees the room after a failed write. Until it is there again, the first failure is the reason.
    pub(super) fn give_up(&self, error: &StoreError) {
        let mut standing = self.standing();
        // An error means that there is no such file, or that the disk fails altogether.
        let _ = std::fs::remove_file(self.path());
        standing.whole = false;
        let failure = || StorageFailure { full: error.is_full(), reason: error.to_string() };
        standing.failure.get_or_insert_with(failure);
    }

    /// Writes the file, unless it is whole. It shows at the same time that the disk can be written again.
    ///
    /// # Errors
    /// If there is no room for it, or the disk fails.
    pub(super) fn renew(&self) -> Result<(), StoreError> {
        let path = self.path();
        let mut standing = self.standing();
        if standing.whole {
            return Ok(());
        }
        let made =
            fill(&path).map_err(StoreError::io(&path)).and_then(|()| durable::sync_folder(&self.folder));
        // What there is of it must not take room from others.
        made.inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        standing.whole = true;
        Ok(())
    }

    /// Notes that all that waited is stored, if the file is whole as well. Returns whether it is.
    pub(super) fn restore(&self) -> bool {
        let mut standing = self.standing();
        if standing.whole {
            standing.failure = None;
        }
        standing.whole
    }
}

/// Writes the file, and for a moment [`MORE`], with bytes that no file system stores in less room.
fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut bytes = blake3::Hasher::new().update(NAME.as_bytes()).finalize_xof();
    let mut chunk = vec![0; CHUNK];
    for _ in 0..(BYTES + MORE) / CHUNK as u64 {
        bytes.fill(&mut chunk);
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    file.set_len(BYTES)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn failed(kind: ErrorKind) -> StoreError {
        StoreError::io(Path::new("state/file"))(kind.into())
    }

    #[test]
    fn a_reserve_is_given_up_at_a_failure_and_restored_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        assert_eq!((reserve.failure(), reserve.restore()), (None, true));
        reserve.give_up(&failed(ErrorKind::StorageFull));
        reserve.give_up(&failed(ErrorKind::PermissionDenied));
        let failure = reserve.failure().expect("the first failure is the reason");
        assert!(failure.full && failure.reason.contains("state/file"), "{failure:?}");
        assert!(!reserve.restore(), "the room is not there");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        reserve.renew().unwrap();
        assert!(reserve.failure().is_some(), "what waited is not stored yet");
        assert!(reserve.restore());
        assert_eq!(reserve.failure(), None);
    }

    #[test]
    fn a_reserve_that_could_not_be_removed_does_not_show_that_the_disk_can_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        reserve.give_up(&failed(ErrorKind::ReadOnlyFilesystem));
        // What a disk that is read-only keeps, and where nothing can be written either.
        std::fs::create_dir(reserve.path()).unwrap();
        assert!(reserve.renew().is_err());
        assert!(!reserve.restore(), "nothing was written");
        std::fs::remove_dir(reserve.path()).unwrap();
        std::fs::write(reserve.path(), vec![0; BYTES as usize]).unwrap();
        assert!(!reserve.restore(), "a file of the right size was there before");
        reserve.renew().unwrap();
        assert!(reserve.restore());
    }

    #[test]
    fn a_state_folder_without_room_for_the_reserve_counts_as_failing() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(&folder.path().join("missing"));
        assert!(reserve.failure().is_some_and(|failure| !failure.full));
        assert!(reserve.renew().is_err());
    }

    #[test]
    fn only_the_lack_of_room_is_a_full_disk() {
        assert!(failed(ErrorKind::StorageFull).is_full() && failed(ErrorKind::QuotaExceeded).is_full());
        assert!(!failed(ErrorKind::PermissionDenied).is_full() && !StoreError::Closed.is_full());
    }
}
