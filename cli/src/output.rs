//! What a run leaves in its `--out` folder, and when that folder may be written to.
//!
//! Whole files are written beside their place and renamed; metrics grow while the job runs.

pub mod estimate;
pub mod metrics;
pub mod model;
pub mod summary;
pub mod tensorboard;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lookbehind_proto::v1;

use crate::args::Out;
use crate::error::CliError;
use crate::job::JobSource;
use crate::json::StepJson;
use metrics::MetricsFile;
use summary::Summary;
use tempfile::NamedTempFile;
use tensorboard::TensorBoard;

/// Names of the files in an output folder.
pub const MODEL: &str = "model.safetensors";
/// One line of JSON per outer step.
pub const METRICS: &str = "metrics.jsonl";
/// The run in numbers.
pub const SUMMARY: &str = "summary.json";
/// The job as it was given.
pub const JOB: &str = "job.toml";
/// The folder that TensorBoard reads.
pub const TENSORBOARD: &str = "tensorboard";
/// How the names of unfinished files begin.
const SCRATCH: &str = ".lookbehind-unfinished-";
const ALL: [&str; 5] = [MODEL, METRICS, SUMMARY, JOB, TENSORBOARD];

/// An output folder that has been checked and opened.
pub struct Output {
    folder: PathBuf,
    metrics: MetricsFile,
    tensorboard: TensorBoard,
}

impl Output {
    /// Makes the folder ready for a run of the job: it must be new, empty, or hold nothing but an earlier
    /// output of the same job, which is removed. With `force` it may hold anything, and only files of the
    /// output's own names are replaced. `init` is a file that must survive.
    ///
    /// # Errors
    /// When other files would be harmed, or the folder cannot be written.
    pub fn prepare(folder: &Path, job: &str, force: bool, init: Option<&Path>) -> Result<Self, CliError> {
        fs::create_dir_all(folder).map_err(|error| CliError::write(folder, error))?;
        spare(init, &folder.join(MODEL))?;
        if !force {
            refuse_foreign(folder, job)?;
        }
        for name in [MODEL, METRICS, SUMMARY] {
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

    /// Makes the folder that a command line names ready for a job; `None` where it names none.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn prepare_for(args: &Out, source: &JobSource) -> Result<Option<Self>, CliError> {
        let init = source.init.as_ref().map(|init| init.path.as_path());
        args.out.as_ref().map(|folder| Self::prepare(folder, &source.text, args.force, init)).transpose()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the model goes.
    pub fn model(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// Notes the time from which the run's events are dated.
    pub fn notice(&mut self, notice: &v1::JobNotice) {
        self.tensorboard.notice(notice);
    }

    /// Adds an outer step.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn step(&mut self, step: &v1::OuterStepMetrics) -> Result<(), CliError> {
        self.metrics.append(&StepJson::from(step))?;
        self.tensorboard.step(step)
    }

    /// Writes the summary, the last of the files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self, summary: &Summary) -> Result<(), CliError> {
        let path = self.folder.join(SUMMARY);
        let mut text =
            serde_json::to_vec_pretty(summary).map_err(|error| CliError::write(&path, error.into()))?;
        text.push(b'\n');
        write_whole(&path, &text)
    }
}

/// Refuses a folder that holds anything but an earlier output of the same job.
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
    // Metrics are always there after a run has begun; a job file alone may be the user's own.
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
fn names(folder: &Path) -> Result<Vec<OsString>, CliError> {
    let entries = fs::read_dir(folder).map_err(|error| CliError::write(folder, error))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>();
    let mut names = names.map_err(|error| CliError::write(folder, error))?;
    names.sort();
    Ok(names)
}

/// Whether a file is one that a killed process left half-written.
fn is_scratch(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with(SCRATCH)
}

/// Refuses to replace the job's own input.
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

fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CliError::write(path, error)),
        _ => Ok(()),
    }
}

/// Writes a file under a temporary name in the same folder and renames it, so that nobody sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut file = beside(path)?;
    file.write_all(bytes).map_err(|error| CliError::write(path, error))?;
    place(file, path)
}

/// A temporary file in the folder of `path`, with the permissions that an ordinary new file has.
fn beside(path: &Path) -> Result<NamedTempFile, CliError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(SCRATCH)
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(|error| CliError::write(path, error))
}

/// Gives a finished file its place, once its bytes are safe.
fn place(file: NamedTempFile, path: &Path) -> Result<(), CliError> {
    file.as_file().sync_all().map_err(|error| CliError::write(path, error))?;
    file.persist(path).map(drop).map_err(|error| CliError::write(path, error.error))
}

#[cfg(test)]
mod tests;
