//! Sources of jobs: a file of the user, or the embedded job.

use std::io::Read;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::job::{JobError, JobFile, JobSpec, parse_toml};
use lookbehind_common::layout::Layout;
use lookbehind_common::model_file;
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use safetensors::SafeTensors;

use crate::error::CliError;

/// The job that `train` runs if none is given.
const EMBEDDED: &str = include_str!("../../deploy/jobs/digits.toml");
/// Largest job file, in bytes.
const MAX_JOB_BYTES: u64 = 1 << 20;

/// A job that has been parsed and validated as far as possible without its model and data.
#[derive(Clone, Debug)]
pub struct JobSource {
    /// Name of the job in messages: its path.
    pub label: String,
    /// The job file's text, unchanged.
    pub text: String,
    /// Folder to which relative paths in the job refer.
    pub folder: PathBuf,
    /// The file of initial weights; `None` if the job names none.
    pub init: Option<InitialWeights>,
    /// The validated specification.
    pub spec: JobSpec,
    file: JobFile,
}

/// A file of initial weights.
#[derive(Clone, Debug)]
pub struct InitialWeights {
    /// Path of the file.
    pub path: PathBuf,
    /// Its content.
    pub bytes: bytes::Bytes,
    /// BLAKE3 of its content, which identifies it in messages.
    pub digest: Digest,
}

impl JobSource {
    /// Reads a job file and the initial weights that it names.
    ///
    /// # Errors
    /// If a file cannot be read, or a key is invalid.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| CliError::read(path, error))?;
        file.take(MAX_JOB_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|error| CliError::read(path, error))?;
        if text.len() as u64 > MAX_JOB_BYTES {
            let problem = format!("is longer than the {MAX_JOB_BYTES} bytes that a job file may have");
            return Err(CliError::Usage(format!("{}: {problem}", path.display())));
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::parse(path.display().to_string(), text, folder)
    }

    /// The embedded job: a classifier of handwritten digits, whose data is part of the worker.
    ///
    /// # Errors
    /// Only if the embedded file is invalid, which is a defect of the build.
    pub fn embedded() -> Result<Self, CliError> {
        Self::parse("the embedded digits job".to_owned(), EMBEDDED.to_owned(), PathBuf::from("."))
    }

    pub(crate) fn parse(label: String, text: String, folder: PathBuf) -> Result<Self, CliError> {
        let wrong = |source| CliError::Job { label: label.clone(), source };
        let mut file = parse_toml(&text).map_err(wrong)?;
        let init = match &file.model.init {
            Some(path) => Some(InitialWeights::read(&label, folder.join(path))?),
            None => None,
        };
        file.model.init = init.as_ref().map(|init| init.digest.to_string());
        let spec = file.validate().map_err(wrong)?;
        Ok(Self { label, text, folder, init, spec, file })
    }

    /// The job file with the initial weights replaced by their digest.
    pub fn file(&self) -> &JobFile {
        &self.file
    }

    /// The job as a message of the protocol.
    pub fn message(&self) -> v1::JobSpec {
        wire::to_proto(&self.file)
    }

    /// Checks that the initial weights, if there are any, are those of a model with this layout.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn check_init(&self, layout: &Layout) -> Result<(), CliError> {
        let Some(init) = &self.init else { return Ok(()) };
        let read = model_file::read(&init.bytes, layout);
        read.map(drop).map_err(|error| wrong_init(&self.label, &init.path, &error.to_string()))
    }
}

impl InitialWeights {
    fn read(label: &str, path: PathBuf) -> Result<Self, CliError> {
        let wrong = |problem: String| wrong_init(label, &path, &problem);
        let bytes = std::fs::read(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        SafeTensors::deserialize(&bytes)
            .map_err(|error| wrong(format!("not a usable safetensors file: {error}")))?;
        Ok(Self { path, digest: Digest::of(&bytes), bytes: bytes.into() })
    }
}

/// The error for a file of initial weights that cannot be used.
fn wrong_init(label: &str, path: &Path, problem: &str) -> CliError {
    let source = JobError::new("model.init", &format!("{}: {problem}", path.display()));
    CliError::Job { label: label.to_owned(), source }
}

#[cfg(test)]
mod tests;
