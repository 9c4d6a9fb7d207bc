//! Jobs as Python hands them over: a job file, its text, a dict, or a job of the coordinator.

use std::path::PathBuf;

use lookbehind::args::job_id;
use lookbehind::error::CliError;
use lookbehind::job::{JobSource, folder_of};
use lookbehind::local;
use lookbehind_common::job::Setting;
use lookbehind_worker::compute::CandleBackend;
use lookbehind_worker::data::RemoteData;
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::registry::Registry;
use pyo3::prelude::*;

use crate::connection::Connection;
use crate::errors::exception;

/// What a job that is no file is called in errors.
const LABEL: &str = "job";

/// Where a job comes from.
#[pyclass(frozen, module = "lookbehind._native")]
#[derive(Clone)]
pub(crate) struct Source(Kind);

#[derive(Clone)]
enum Kind {
    File(PathBuf),
    Text(String),
    Job(String),
    Embedded,
}

/// A source with the changes that are made to it.
pub(crate) struct Wanted {
    source: Source,
    settings: Vec<Setting>,
    labels: Vec<(String, String)>,
}

#[pymethods]
impl Source {
    /// A job file.
    #[staticmethod]
    fn file(path: PathBuf) -> Self {
        Self(Kind::File(path))
    }

    /// The text of a job file.
    #[staticmethod]
    fn toml(text: String) -> Self {
        Self(Kind::Text(text))
    }

    /// A job as a JSON object, with the sections and keys of a job file.
    #[staticmethod]
    fn json(py: Python<'_>, text: &str) -> PyResult<Self> {
        as_toml(text).map(|text| Self(Kind::Text(text))).map_err(|error| exception(py, &error))
    }

    /// The specification of a job of the coordinator.
    #[staticmethod]
    fn job(id: String) -> Self {
        Self(Kind::Job(id))
    }

    /// The small classifier of handwritten digits that `lookbehind train` trains without a job file.
    #[staticmethod]
    fn embedded() -> Self {
        Self(Kind::Embedded)
    }
}

impl Source {
    /// The folder to which paths in the job refer.
    pub(crate) fn folder(&self) -> PathBuf {
        match &self.0 {
            Kind::File(path) => folder_of(path),
            Kind::Text(_) | Kind::Job(_) | Kind::Embedded => PathBuf::from("."),
        }
    }
}

impl Wanted {
    /// A source with keys that are changed, each to a JSON value or, without one, to its default, and with labels.
    ///
    /// # Errors
    /// If a key or a value cannot stand in a job file.
    pub(crate) fn new(
        source: &Source,
        settings: Vec<(String, Option<String>)>,
        labels: Vec<(String, String)>,
    ) -> Result<Self, CliError> {
        let settings = settings.iter().map(|(key, value)| setting(key, value.as_deref()));
        Ok(Self { source: source.clone(), settings: settings.collect::<Result<_, _>>()?, labels })
    }

    /// The source without its changes.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The job, for a coordinator.
    ///
    /// # Errors
    /// If a file cannot be read, a key is invalid, or the coordinator does not know the job that it is made from.
    pub(crate) async fn read(self, connection: &Connection) -> Result<JobSource, CliError> {
        if let Kind::Job(id) = &self.source.0 {
            let job = connection.client().await?.job_by_id(&checked(id)?).await?;
            return JobSource::of_job(&job, &self.settings)?.with_labels(&self.labels);
        }
        blocking(move || {
            let folder = self.source.folder();
            let (data, device) = (RemoteData::default(), DeviceChoice::Cpu);
            let backend = local::backend(Registry::builtin(), &folder, data, 1, &device)?;
            self.read_with(&backend)
        })
        .await
    }

    /// The job, without a coordinator.
    ///
    /// # Errors
    /// If a file cannot be read, a key is invalid, or the job is one of a coordinator.
    pub(crate) fn read_with(&self, backend: &CandleBackend) -> Result<JobSource, CliError> {
        let folder = self.source.folder();
        let job = match &self.source.0 {
            Kind::File(path) => JobSource::read_with(path, &self.settings, Some(backend))?,
            Kind::Text(text) => JobSource::of_text(LABEL, text, folder, &self.settings, Some(backend))?,
            Kind::Embedded => JobSource::embedded(&self.settings)?,
            Kind::Job(id) => {
                let problem = format!("job {id} is at a coordinator, and there is none here");
                return Err(CliError::Usage(problem));
            }
        };
        job.with_labels(&self.labels)
    }
}

/// The identity of a job, or an error that says how one looks.
pub(crate) fn checked(id: &str) -> Result<String, CliError> {
    job_id(id).map_err(|expected| CliError::Usage(format!("job {id:?}: {expected}")))
}

/// Runs what reads files on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CliError::System { what: "reading the job", source: error.into() })?
}

/// A job as JSON in the notation of job files.
fn as_toml(text: &str) -> Result<String, CliError> {
    let wrong = |problem: String| CliError::Usage(format!("{LABEL}: {problem}"));
    let sections: toml::Table = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    toml::to_string(&sections).map_err(|error| wrong(error.to_string()))
}

/// A changed key.
fn setting(key: &str, value: Option<&str>) -> Result<Setting, CliError> {
    let label = "overrides".to_owned();
    // An empty value removes the key, which also says whether it can be one.
    let removed: Setting = format!("{key}=").parse().map_err(|source| CliError::Job { label, source })?;
    let Some(value) = value else { return Ok(removed) };
    let value: toml::Value =
        serde_json::from_str(value).map_err(|error| CliError::Usage(format!("overrides: {key}: {error}")))?;
    Ok(Setting::new(key, value))
}
