//! Sources of jobs: a file of the user, or the embedded job.

use std::io::Read;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::job::{
    ImportedFile, Init, JobError, JobFile, JobSpec, Setting, apply_settings, parse_toml,
};
use lookbehind_common::layout::Layout;
use lookbehind_common::model_file;
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_worker::compute::CandleBackend;
use safetensors::SafeTensors;

use crate::client::Client;
use crate::error::CliError;
use crate::output::job_file;

/// The job that `train` runs if none is given.
const EMBEDDED: &str = include_str!("../../deploy/jobs/digits.toml");
/// Largest job file, in bytes.
const MAX_JOB_BYTES: u64 = 1 << 20;

/// What converts other programs' files of initial weights. It knows the model; without it, such a file is refused.
pub type Importer<'a> = Option<&'a CandleBackend>;

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
    /// Its content, or what it was converted to.
    pub bytes: bytes::Bytes,
    /// BLAKE3 of its content, which identifies it in messages.
    pub digest: Digest,
}

impl JobSource {
    /// Reads a job file and the initial weights that it names.
    ///
    /// # Errors
    /// If a file cannot be read, or a key is invalid.
    pub fn read(path: &Path, importer: Importer<'_>) -> Result<Self, CliError> {
        Self::read_with(path, &[], importer)
    }

    /// As [`Self::read`], with changes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with(path: &Path, settings: &[Setting], importer: Importer<'_>) -> Result<Self, CliError> {
        Self::of_text(&path.display().to_string(), &read_text(path)?, folder_of(path), settings, importer)
    }

    /// The embedded job: a classifier of handwritten digits, whose data is part of the worker. With changes.
    ///
    /// # Errors
    /// If a changed key is invalid.
    pub fn embedded(settings: &[Setting]) -> Result<Self, CliError> {
        Self::of_text("the embedded digits job", EMBEDDED, PathBuf::from("."), settings, None)
    }

    /// The job of a job file's text, with changes. `label` names it in errors, and its relative paths refer to `folder`.
    ///
    /// # Errors
    /// If a key is invalid, or a file of initial weights cannot be read.
    pub fn of_text(
        label: &str,
        text: &str,
        folder: PathBuf,
        settings: &[Setting],
        importer: Importer<'_>,
    ) -> Result<Self, CliError> {
        match apply_settings(text, settings) {
            Ok(text) => Self::parse(label.to_owned(), text, folder, importer),
            Err(source) => Err(CliError::Job { label: label.to_owned(), source }),
        }
    }

    /// The job file of a job of the coordinator, with changes. A file of initial weights is named by its digest: the
    /// coordinator has it.
    ///
    /// # Errors
    /// If the coordinator sent no specification, or a changed key is invalid.
    pub fn of_job(job: &v1::Job, settings: &[Setting]) -> Result<Self, CliError> {
        let label = format!("job {}", job.id);
        let wrong = |source| CliError::Job { label: label.clone(), source };
        let text = apply_settings(&job_toml(job)?, settings).map_err(wrong)?;
        let file = parse_toml(&text).map_err(wrong)?;
        let spec = file.validate().map_err(wrong)?;
        Ok(Self { label, text, folder: PathBuf::from("."), init: None, spec, file })
    }

    pub(crate) fn parse(
        label: String,
        text: String,
        folder: PathBuf,
        importer: Importer<'_>,
    ) -> Result<Self, CliError> {
        let wrong = |source| CliError::Job { label: label.clone(), source };
        let mut file = parse_toml(&text).map_err(wrong)?;
        let init = match file.model.init.take() {
            Some(Init::File(path)) => Some(InitialWeights::read(&label, folder.join(path))?),
            Some(Init::Imported(from)) => {
                // Everything but the weights says which tensors the model has.
                let spec = file.validate().map_err(wrong)?;
                Some(InitialWeights::import(&label, &folder, &from, &spec, importer)?)
            }
            other => {
                file.model.init = other;
                None
            }
        };
        if let Some(init) = &init {
            file.model.init = Some(init.digest.to_string().into());
        }
        let spec = file.validate().map_err(wrong)?;
        Ok(Self { label, text, folder, init, spec, file })
    }

    /// The job with further labels, which replace those of the same keys.
    ///
    /// # Errors
    /// If a label is not valid.
    pub fn with_labels(mut self, labels: &[(String, String)]) -> Result<Self, CliError> {
        self.file.labels.extend(labels.iter().cloned());
        let wrong = |source| CliError::Job { label: "--label".to_owned(), source };
        self.spec = self.file.validate().map_err(wrong)?;
        Ok(self)
    }

    /// The job file with the initial weights replaced by their digest.
    pub fn file(&self) -> &JobFile {
        &self.file
    }

    /// The job as a message of the protocol.
    pub fn message(&self) -> v1::JobSpec {
        wire::to_proto(&self.file)
    }

    /// Hands the job to a coordinator, its initial weights first, and returns it as it is queued.
    ///
    /// # Errors
    /// If the coordinator refuses or cannot be reached.
    pub async fn submit(&self, client: &Client) -> Result<v1::Job, CliError> {
        if let Some(init) = &self.init {
            client.upload(init).await?;
        }
        client.create_job(&random_id()?, self.message()).await
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

/// A random request identity, different from those of all other requests.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn random_id() -> Result<String, CliError> {
    let random = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = random.map_err(|error| CliError::System {
        what: "no randomness for a request's identity",
        source: std::io::Error::other(error),
    })?;
    Ok(format!("{high:016x}{low:016x}"))
}

/// The text of a job file.
///
/// # Errors
/// If it cannot be read, or is too long.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| CliError::read(path, error))?;
    file.take(MAX_JOB_BYTES + 1).read_to_string(&mut text).map_err(|error| CliError::read(path, error))?;
    if text.len() as u64 > MAX_JOB_BYTES {
        let problem = format!("is longer than the {MAX_JOB_BYTES} bytes that a job file may have");
        return Err(CliError::Usage(format!("{}: {problem}", path.display())));
    }
    Ok(text)
}

/// The folder of a file.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The specification of a job file without its initial weights, which are not read: a trained model has its own. `label`
/// names the file in errors.
///
/// # Errors
/// If a key is invalid.
pub(crate) fn untrained(label: &str, text: &str) -> Result<JobSpec, CliError> {
    let wrong = |source| CliError::Job { label: label.to_owned(), source };
    let mut file = parse_toml(text).map_err(wrong)?;
    file.model.init = None;
    file.validate().map_err(wrong)
}

/// The job file as the coordinator stores it; initial weights are given by their digest.
pub(crate) fn job_toml(job: &v1::Job) -> Result<String, CliError> {
    let what = || format!("job {}", job.id);
    let spec = job
        .spec
        .as_ref()
        .ok_or_else(|| CliError::Malformed { what: what(), missing: "its specification" })?;
    let file = wire::from_proto(spec).map_err(|source| CliError::Job { label: what(), source })?;
    job_file::write(&file).map_err(|error| CliError::Refused { what: what(), message: error.to_string() })
}

impl InitialWeights {
    /// Reads a file of the model's own tensors.
    fn read(label: &str, path: PathBuf) -> Result<Self, CliError> {
        let wrong = |problem: String| wrong_init(label, &path, &problem);
        let bytes = std::fs::read(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        SafeTensors::deserialize(&bytes)
            .map_err(|error| wrong(format!("not a usable safetensors file: {error}")))?;
        Ok(Self { path, digest: Digest::of(&bytes), bytes: bytes.into() })
    }

    /// Reads a file of another program and converts it for the model of a job.
    fn import(
        label: &str,
        folder: &Path,
        from: &ImportedFile,
        spec: &JobSpec,
        importer: Importer<'_>,
    ) -> Result<Self, CliError> {
        let path = folder.join(&from.file);
        let wrong = |problem: String| wrong_init(label, &path, &problem);
        let Some(backend) = importer else {
            let problem = "is converted only by submit, train and validate; `validate --save-init FILE` leaves the \
                           converted file, which init = \"FILE\" takes everywhere";
            return Err(wrong(problem.to_owned()));
        };
        let bytes = std::fs::read(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let bytes = backend.import(spec, &bytes, from).map_err(|error| wrong(error.to_string()))?;
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
