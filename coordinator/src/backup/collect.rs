//! Taking a backup: the database first, then the files that belong to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lookbehind_common::ids::JobId;

use super::copied::{self, Copied};
use super::manifest::Manifest;
use super::{BackupError, Contents, claim, socket};
use crate::observe::unix_now;
use crate::state::JobRecord;
use crate::store::{DATABASE, Store, StoreError, checkpoint, journal, uploads};

/// How often the checkpoints of a job are looked up again that were all replaced by newer ones while they were copied.
const ATTEMPTS: usize = 10;

/// Copies a state folder into `out`, which must be empty or absent. A coordinator may use the state meanwhile. A backup
/// that is not completed has no manifest and cannot be restored.
///
/// # Errors
/// If something cannot be read or written.
pub fn back_up(state: &Path, out: &Path) -> Result<Contents, BackupError> {
    claim(out)?;
    let mut manifest = Manifest::new(unix_now());
    copy_database(state, out)?;
    let (copy, stored) = Store::open_to_copy(out)?;
    let mut backup = Backup { state, out, manifest: &mut manifest };
    let (mut jobs, mut checkpoints) = (0, 0);
    for job in &stored.jobs {
        match backup.copy_job(&job.record)? {
            Some(copied) => (jobs, checkpoints) = (jobs + 1, checkpoints + copied),
            // It was deleted after the database was copied.
            None => copy.delete(&job.record.id)?,
        }
    }
    backup.copy_uploads()?;
    drop(copy);
    let lock = out.join("lock");
    std::fs::remove_file(&lock).map_err(StoreError::io(&lock))?;
    manifest.count(jobs, checkpoints);
    manifest.files.insert(DATABASE.to_owned(), copied::of(&out.join(DATABASE))?);
    copied::sync_names(out)?;
    manifest.write(out)?;
    Ok(manifest.contents())
}

/// Copies the database: from the folder if no coordinator uses it, else by asking the coordinator.
fn copy_database(state: &Path, out: &Path) -> Result<(), BackupError> {
    let target = out.join(DATABASE);
    match Store::open_to_copy(state) {
        Ok((store, _)) => Ok(store.copy_database(&target)?),
        Err(StoreError::InUse { .. }) => {
            let (mut reader, length) = socket::ask(state)?;
            let copied = copied::write(&mut reader, state, &target)?;
            match copied.bytes == length {
                true => Ok(()),
                false => Err(BackupError::Refused(format!(
                    "expected {length} bytes, found {} before the connection ended",
                    copied.bytes
                ))),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// A backup that is being taken.
struct Backup<'a> {
    state: &'a Path,
    out: &'a Path,
    manifest: &'a mut Manifest,
}

impl Backup<'_> {
    /// Copies the files of a job. Returns the number of checkpoints, or `None` if the job was deleted.
    fn copy_job(&mut self, record: &JobRecord) -> Result<Option<usize>, BackupError> {
        let checkpoints = match record.checkpoint {
            Some(_) => self.copy_checkpoints(&record.id)?,
            None => 0,
        };
        let folder = job_folder(&record.id);
        if record.checkpoint.is_some() && !self.state.join(&folder).exists() {
            self.forget(&folder)?;
            return Ok(None);
        }
        // After the checkpoints: it has the outer steps of each.
        self.copy(&journal::path(&folder))?;
        Ok(Some(checkpoints))
    }

    /// Copies the checkpoints of a job that are there. Old ones are removed while it trains, always after a newer one has
    /// its name. Damaged ones are left out.
    fn copy_checkpoints(&mut self, job: &JobId) -> Result<usize, BackupError> {
        let folder = job_folder(job);
        let mut earlier = Vec::new();
        for _ in 0..ATTEMPTS {
            let steps = checkpoint::list(&self.state.join(&folder))?;
            let mut copied = 0;
            for step in &steps {
                copied += usize::from(self.copy_checkpoint(&folder, *step)?);
            }
            if copied > 0 || steps == earlier {
                return Ok(copied);
            }
            earlier = steps;
        }
        let reason = "its checkpoints were replaced faster than they could be copied";
        Err(StoreError::unfit(&self.state.join(&folder), reason).into())
    }

    /// Copies the files of a checkpoint; `false` if it was removed meanwhile, or is damaged.
    fn copy_checkpoint(&mut self, job_folder: &Path, outer_step: u64) -> Result<bool, BackupError> {
        let folder = checkpoint::step_folder(job_folder, outer_step);
        let mut found = BTreeMap::new();
        for name in checkpoint::FILES {
            match self.copy(&folder.join(name))? {
                Some(file) => found.insert(name, file.digest),
                None => {
                    self.forget(&folder)?;
                    return Ok(false);
                }
            };
        }
        let checked = checkpoint::Manifest::read(&self.out.join(&folder), outer_step);
        let whole = checked.is_ok_and(|manifest| {
            manifest.files.iter().all(|(name, digest)| found.get(name.as_str()) == Some(digest))
        });
        if !whole {
            tracing::warn!(checkpoint = %self.state.join(&folder).display(), "a damaged checkpoint is left out");
            self.forget(&folder)?;
        }
        Ok(whole)
    }

    fn copy_uploads(&mut self) -> Result<(), BackupError> {
        let folder = Path::new(uploads::FOLDER);
        for digest in uploads::list(&self.state.join(folder))?.keys() {
            self.copy(&uploads::path(folder, digest))?;
        }
        Ok(())
    }

    /// Copies a file by its path in the state folder; `None` if it is not there.
    fn copy(&mut self, path: &Path) -> Result<Option<Copied>, BackupError> {
        match copied::copy(&self.state.join(path), &self.out.join(path)) {
            Ok(copied) => {
                self.manifest.files.insert(path.to_string_lossy().into_owned(), copied);
                Ok(Some(copied))
            }
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what was copied of a folder.
    fn forget(&mut self, folder: &Path) -> Result<(), BackupError> {
        self.manifest.files.retain(|path, _| !Path::new(path).starts_with(folder));
        let copy = self.out.join(folder);
        match std::fs::remove_dir_all(&copy) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io(&copy)(error).into())
            }
            _ => Ok(()),
        }
    }
}

/// The folder of a job within the state folder.
fn job_folder(job: &JobId) -> PathBuf {
    Path::new("jobs").join(job.as_str())
}
