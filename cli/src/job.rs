//! Where a job comes from: a file of the user's, or the one that is built in.

use std::io::Read;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::job::{JobError, JobFile, JobSpec, parse_toml};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use safetensors::SafeTensors;

use crate::error::CliError;

/// The job that `train` runs when none is given.
const EMBEDDED: &str = include_str!("../../deploy/jobs/digits.toml");
/// Largest job file.
const MAX_JOB_BYTES: u64 = 1 << 20;

/// A job that has been read and checked as far as it can be without its model and data.
#[derive(Clone, Debug)]
pub struct JobSource {
    /// How to call it in messages: its path.
    pub label: String,
    /// As its user wrote it.
    pub text: String,
    /// Where relative paths in it begin.
    pub folder: PathBuf,
    /// The file of initial weights that it names.
    pub init: Option<InitialWeights>,
    /// What it means.
    pub spec: JobSpec,
    file: JobFile,
}

/// A file of initial weights.
#[derive(Clone, Debug)]
pub struct InitialWeights {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: bytes::Bytes,
    /// BLAKE3 of its bytes, which stands for it on the wire.
    pub digest: Digest,
}

impl JobSource {
    /// Reads a job file and the initial weights that it names.
    ///
    /// # Errors
    /// When a file cannot be read, or a key is wrong.
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

    /// The job that is built in: a classifier of handwritten digits, whose data the workers carry with them.
    ///
    /// # Errors
    /// Never, unless the build is broken.
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

    /// The job with its initial weights by digest.
    pub fn file(&self) -> &JobFile {
        &self.file
    }

    /// The job as it travels.
    pub fn message(&self) -> v1::JobSpec {
        wire::to_proto(&self.file)
    }

    /// An identity of what is asked for: the same for the same job with the same initial weights.
    pub fn identity(&self) -> Digest {
        let init = self.init.as_ref().map(|init| init.digest.to_string()).unwrap_or_default();
        Digest::of(format!("{init}\n{}", self.text).as_bytes())
    }
}

impl InitialWeights {
    fn read(label: &str, path: PathBuf) -> Result<Self, CliError> {
        let wrong = |problem: String| CliError::Job {
            label: label.to_owned(),
            source: JobError::new("model.init", &format!("{}: {problem}", path.display())),
        };
        let bytes = std::fs::read(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        SafeTensors::deserialize(&bytes)
            .map_err(|error| wrong(format!("not a usable safetensors file: {error}")))?;
        Ok(Self { path, digest: Digest::of(&bytes), bytes: bytes.into() })
    }
}

#[cfg(test)]
mod tests;
