//! The `--out` folder of a run: its files, and the conditions for writing to it.
//!
//! Most files are written under a temporary name and renamed when complete. The metrics and TensorBoard's file grow while
//! the job runs. No file is opened that was there before, and no link is followed: others may write into the folder.

pub mod best;
pub mod estimate;
pub mod evaluation;
pub mod job_file;
pub mod metrics;
pub mod model;
pub mod summary;
pub mod tensorboard;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lookbehind_common::text::printable_json;
use lookbehind_proto::json::StepJson;
use lookbehind_proto::v1;

use crate::args::Out;
use crate::error::CliError;
use crate::job::JobSource;
use metrics::MetricsFile;
use summary::Summary;
use tempfile::NamedTempFile;
use tensorboard::TensorBoard;

/// The model.
pub const MODEL: &str = "model.safetensors";
/// The model of the best evaluation, if the job keeps it.
pub const BEST_MODEL: &str = "best.safetensors";
/// The metrics: one line of JSON per outer step.
pub const METRICS: &str = "metrics.jsonl";
/// The summary of the run.
pub const SUMMARY: &str = "summary.json";
/// The job file.
pub const JOB: &str = "job.toml";
/// The folder for TensorBoard.
pub const TENSORBOARD: &str = "tensorboard";
/// Prefix of temporary files.
const SCRATCH: &str = ".lookbehind-unfinished-";
const ALL: [&str; 6] = [MODEL, BEST_MODEL, METRICS, SUMMARY, JOB, TENSORBOARD];

/// An output folder that is ready for a run.
pub struct Output {
    folder: PathBuf,
    metrics: MetricsFile,
    tensorboard: TensorBoard,
}

impl Output {
    /// Prepares the folder for a run of the job. It must be new, empty, or contain only an earlier output of the same
    /// job, which is removed. With `force` it may contain anything, and only files with the names of outputs are
    /// replaced. `init` is a file that must not be replaced.
    ///
    /// # Errors
    /// If other files would be destroyed, or the folder cannot be written.
    pub fn prepare(folder: &Path, job: &str, force: bool, init: Option<&Path>) -> Result<Self, CliError> {
        fs::create_dir_all(folder).map_err(|error| CliError::write(folder, error))?;
        spare(init, &folder.join(MODEL))?;
        spare(init, &folder.join(BEST_MODEL))?;
        if !force {
            refuse_foreign(folder, job)?;
        }
        for name in [MODEL, BEST_MODEL, METRICS, SUMMARY] {
            remove(&folder.join(name))?;
        }
        for name in names(folder)?.iter().filter(|name| is_scratch(name)) {
            remove(&folder.join(name))?;
        }
        tensorboard::remove_earlier(&folder.join(TENSORBOARD))?;
        write_whole(&folder.join(JOB), job.as_bytes())?;
        Ok(Self {
            folder: folder.to_owned(),
            metrics: MetricsFile::create(&folder.join(METRICS))?,
            tensorboard: TensorBoard::create(&folder.join(TENSORBOARD))?,
        })
    }

    /// Prepares the folder that the command line names; `None` if it names none.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn prepare_for(args: &Out, source: &JobSource) -> Result<Option<Self>, CliError> {
        let init = source.init.as_ref().map(|init| init.path.as_path());
        args.out.as_ref().map(|folder| Self::prepare(folder, &source.text, args.force, init)).transpose()
    }

    /// Path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of the model file.
    pub fn model(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// Path of the model file of the best evaluation.
    pub fn best_model(&self) -> PathBuf {
        self.folder.join(BEST_MODEL)
    }

    /// Processes a notice, from which TensorBoard's events take their time.
    pub fn notice(&mut self, notice: &v1::JobNotice) {
        self.tensorboard.notice(notice);
    }

    /// Adds an outer step to the metrics and to TensorBoard's file.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn step(&mut self, step: &v1::OuterStepMetrics) -> Result<(), CliError> {
        self.metrics.append(&StepJson::from(step))?;
        self.tensorboard.step(step)
    }

    /// Writes the summary, the last of the files.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(&self, summary: &Summary) -> Result<(), CliError> {
        let path = self.folder.join(SUMMARY);
        let text = serde_json::to_string_pretty(summary);
        let text = text.map_err(|error| CliError::write(&path, error.into()))?;
        write_whole(&path, format!("{}\n", printable_json(&text)).as_bytes())
    }
}

/// Refuses a folder that contains anything but an earlier output of the same job.
fn refuse_foreign(folder: &Path, job: &str) -> Result<(), CliError> {
    let occupied = |reason: String| CliError::Occupied { path: folder.to_owned(), reason };
    let mut names = names(folder)?;
    names.retain(|name| !is_scratch(name));
    if names.is_empty() {
        return Ok(());
    }
    if let Some(name) = names.iter().find(|name| !ALL.iter().any(|own| *name == own)) {
        return Err(occupied(format!("holds {name:?}, which is no output of a job")));
    }
    // Every run creates a metrics file. A job file without metrics may therefore be the user's own.
    let begun = names.iter().any(|name| name == METRICS);
    match fs::read_to_string(folder.join(JOB)) {
        Ok(earlier) if earlier == job && begun => Ok(()),
        Ok(earlier) if earlier == job => {
            Err(occupied("holds the job file but no metrics of an earlier run".into()))
        }
        _ => Err(occupied("holds the output of another job, or of another version of its file".to_owned())),
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<OsString>, CliError> {
    let entries = fs::read_dir(folder).map_err(|error| CliError::write(folder, error))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>();
    let mut names = names.map_err(|error| CliError::write(folder, error))?;
    names.sort();
    Ok(names)
}

/// Whether a file is a temporary file that a killed process left.
pub(crate) fn is_scratch(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with(SCRATCH)
}

/// Refuses to replace the file with the job's initial weights.
fn spare(init: Option<&Path>, model: &Path) -> Result<(), CliError> {
    let same = |init: &Path| match (init.canonicalize(), model.canonicalize()) {
        (Ok(init), Ok(model)) => init == model,
        _ => false,
    };
    match init {
        Some(init) if same(init) => Err(CliError::ReplacesInput { path: model.to_owned() }),
        _ => Ok(()),
    }
}

pub(crate) fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CliError::write(path, error)),
        _ => Ok(()),
    }
}

/// Writes a file under a temporary name in the same folder and renames it, so that no reader sees an incomplete file.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut file = temporary_file_for(path)?;
    file.write_all(bytes).map_err(|error| CliError::write(path, error))?;
    place(file, path)
}

/// A temporary file in the folder of `path`, with the permissions of an ordinary new file.
fn temporary_file_for(path: &Path) -> Result<NamedTempFile, CliError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(SCRATCH)
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(|error| CliError::write(path, error))
}

/// Renames a finished file to its final name, after its content has been flushed to the disk.
fn place(file: NamedTempFile, path: &Path) -> Result<(), CliError> {
    file.as_file().sync_all().map_err(|error| CliError::write(path, error))?;
    file.persist(path).map(drop).map_err(|error| CliError::write(path, error.error))
}

#[cfg(test)]
mod tests;
