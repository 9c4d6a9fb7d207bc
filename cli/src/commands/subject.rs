//! The models that `evaluate`, `predict` and `export` are about, with their job and its data.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use lookbehind_common::digest::{Digest, weights_digest};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::JobSpec;
use lookbehind_common::layout::Layout;
use lookbehind_common::model_file::{self, ModelFileError};
use lookbehind_common::model_state::ModelState;
use lookbehind_worker::data::NewSamples;
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::evaluate::Evaluation;
use lookbehind_worker::registry::Registry;

use crate::args::Subject;
use crate::client::Client;
use crate::error::CliError;
use crate::evaluate::download;
use crate::job::{JobSource, folder_of, read_text, untrained};
use crate::local;
use crate::output;

/// Models with the job that they are models of.
pub(super) struct Models {
    /// The job.
    pub(super) spec: JobSpec,
    /// Text of the job file.
    pub(super) job: String,
    /// Folder of the data files.
    pub(super) folder: PathBuf,
    /// The models' files, in the order of the command line.
    pub(super) files: Vec<ModelFile>,
}

/// A model file in memory.
pub(super) struct ModelFile {
    /// What the user calls it.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Where a model and its job come from.
enum Place {
    /// A model file, and the job file beside it if there is one.
    File { model: PathBuf, job: Option<PathBuf> },
    /// A job of the coordinator.
    Job(JobId),
}

impl Models {
    /// Reads or downloads models, and the job that the command line names; by default that of the first model.
    ///
    /// # Errors
    /// If a file cannot be read, a job is unknown or has no checkpoint, or there is no job file.
    pub(super) async fn open(subject: &Subject, names: &[String]) -> Result<Self, CliError> {
        let places = names.iter().map(|name| place(name)).collect::<Result<Vec<_>, _>>()?;
        let mut job = subject.job.as_deref().map(read_job).transpose()?;
        let (mut files, mut client): (Vec<ModelFile>, Option<Client>) = (Vec::new(), None);
        for (name, place) in names.iter().zip(&places) {
            let bytes = match place {
                Place::File { model, job: beside } => {
                    let bytes = std::fs::read(model).map_err(|error| CliError::read(model, error))?;
                    if job.is_none() {
                        // What the file itself says is about this model; the file beside it may be about another one.
                        let beside = || beside.as_deref().map(read_job).transpose();
                        job = recipe(model, &bytes)?.map_or_else(beside, |recipe| Ok(Some(recipe)))?;
                    }
                    bytes
                }
                Place::Job(id) => {
                    if client.is_none() {
                        client = Some(Client::to(&subject.coordinator).await?);
                    }
                    // It was made above if there was none.
                    let Some(client) = &client else { continue };
                    if job.is_none() {
                        let source = JobSource::of_job(&client.job_by_id(id.as_str()).await?, &[])?;
                        job = Some(Job { spec: source.spec, text: source.text, folder: source.folder });
                    }
                    download(client, id.as_str()).await?
                }
            };
            files.push(ModelFile { name: name.clone(), bytes });
        }
        let Some(Job { spec, text, folder }) = job else {
            let problem = "the model has no job in its metadata, and no job file lies beside it; --job JOB.toml says model \
                           and data";
            return Err(CliError::Usage(format!("{}: {problem}", names[0])));
        };
        Ok(Self { spec, job: text, folder: subject.data.clone().unwrap_or(folder), files })
    }

    /// Loads the job's data. With files, these take the place of the test split.
    ///
    /// # Errors
    /// If job or data are wrong.
    pub(super) fn evaluation(
        &self,
        subject: &Subject,
        registry: Registry,
        files: Option<NewSamples>,
    ) -> Result<Evaluation, CliError> {
        let remote = subject.remote.clone().into_data();
        let backend =
            local::backend_for(registry, &self.folder, remote, 1, &DeviceChoice::Cpu, files.clone())?;
        let evaluation = Evaluation::load(backend, &self.spec)?;
        if files.is_some_and(|files| !files.were_taken()) {
            let kind = &self.spec.data.kind;
            return Err(CliError::Usage(format!(
                "data kind {kind:?} reads no new samples; --split chooses its own"
            )));
        }
        Ok(evaluation)
    }
}

impl ModelFile {
    /// The weights, and their digest.
    ///
    /// # Errors
    /// If it is no file of a model of this layout.
    pub(super) fn weights(&self, layout: &Layout) -> Result<(ModelState<FlatBuffer>, Digest), CliError> {
        let weights = model_file::read(&self.bytes, layout)
            .map_err(|error| CliError::Usage(format!("{}: {error}", self.name)))?;
        let digest = weights_digest(layout, &weights);
        Ok((weights, digest))
    }
}

/// The number of threads to compute with.
pub(super) fn threads(subject: &Subject) -> usize {
    let available = || available_parallelism().map_or(1, std::num::NonZero::get);
    subject.threads.map_or_else(available, usize::from)
}

/// An existing path takes precedence over a job.
fn place(name: &str) -> Result<Place, CliError> {
    let path = Path::new(name);
    if path.is_dir() {
        let job = path.join(output::JOB);
        return Ok(Place::File { model: path.join(output::MODEL), job: job.is_file().then_some(job) });
    }
    if path.exists() {
        let job = folder_of(path).join(output::JOB);
        return Ok(Place::File { model: path.to_owned(), job: job.is_file().then_some(job) });
    }
    JobId::parse(name).map(Place::Job).ok_or_else(|| {
        CliError::Usage(format!("{name}: expected a model file, a folder of --out or the identity of a job"))
    })
}

/// A job that models belong to.
struct Job {
    spec: JobSpec,
    text: String,
    folder: PathBuf,
}

fn read_job(path: &Path) -> Result<Job, CliError> {
    let text = read_text(path)?;
    Ok(Job { spec: untrained(&path.display().to_string(), &text)?, text, folder: folder_of(path) })
}

/// The job in the metadata of a model file that `export` has written.
fn recipe(model: &Path, bytes: &[u8]) -> Result<Option<Job>, CliError> {
    let problem =
        |error: ModelFileError| CliError::Model { path: model.to_owned(), problem: error.to_string() };
    let Some(text) = model_file::metadata(bytes, model_file::JOB).map_err(problem)? else { return Ok(None) };
    Ok(Some(Job { spec: untrained(&model.display().to_string(), &text)?, text, folder: folder_of(model) }))
}
