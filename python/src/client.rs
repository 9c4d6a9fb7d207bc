//! The calls of a coordinator.

use std::path::PathBuf;
use std::sync::Arc;

use lookbehind::client::Client as Calls;
use lookbehind::console::Console;
use lookbehind::error::CliError;
use lookbehind::fetch::{fetch, steps};
use lookbehind::follow::summary_of;
use lookbehind::output::model::Download;
use lookbehind::output::summary::Tally;
use lookbehind_common::job::WhichCheckpoint;
use lookbehind_proto::json::{CheckpointJson, JobJson, StepJson, WorkerJson, state_named};
use lookbehind_proto::v1;
use pyo3::prelude::*;

use crate::call::Call;
use crate::connection::Connection;
use crate::errors::exception;
use crate::events::Events;
use crate::source::{Source, Wanted, checked};

/// A client of a coordinator. It connects with its first call.
#[pyclass(frozen, module = "lookbehind._native")]
pub(crate) struct Client(Arc<Connection>);

impl Client {
    /// A call about one job that answers with the job.
    fn about<F>(&self, id: String, call: impl FnOnce(Calls, String) -> F + Send + 'static) -> Call
    where
        F: Future<Output = Result<v1::Job, CliError>> + Send + 'static,
    {
        let connection = Arc::clone(&self.0);
        Call::json(async move {
            let id = checked(&id)?;
            call(connection.client().await?, id).await.map(|job| JobJson::from(&job))
        })
    }
}

#[pymethods]
impl Client {
    /// What is not given is as for the command line tool: from the environment, or by default.
    #[new]
    #[pyo3(signature = (url=None, credentials=None))]
    fn new(py: Python<'_>, url: Option<String>, credentials: Option<PathBuf>) -> PyResult<Self> {
        match Connection::new(url, credentials) {
            Ok(connection) => Ok(Self(Arc::new(connection))),
            Err(error) => Err(exception(py, &error)),
        }
    }

    /// Where the coordinator is.
    #[getter]
    fn url(&self) -> &str {
        self.0.url()
    }

    /// Hands over a job and answers with it.
    fn submit(
        &self,
        py: Python<'_>,
        source: &Source,
        settings: Vec<(String, Option<String>)>,
        labels: Vec<(String, String)>,
    ) -> PyResult<Call> {
        let wanted = Wanted::new(source, settings, labels).map_err(|error| exception(py, &error))?;
        let connection = Arc::clone(&self.0);
        Ok(Call::json(async move {
            let job = Box::pin(wanted.read(&connection)).await?;
            let client = connection.client().await?;
            let job = Box::pin(job.submit(&client)).await?;
            Ok(JobJson::from(&job))
        }))
    }

    /// Answers with one job.
    fn job(&self, id: String) -> Call {
        self.about(id, |client, id| async move { client.job_by_id(&id).await })
    }

    /// Answers with a list of jobs; without a limit, with all that are wanted.
    fn jobs(
        &self,
        py: Python<'_>,
        states: Vec<String>,
        owner: String,
        name: String,
        labels: Vec<(String, String)>,
        limit: Option<usize>,
    ) -> PyResult<Call> {
        let named = |state: &String| state_named(state).map(i32::from).ok_or_else(|| unknown_state(state));
        let states: Result<_, _> = states.iter().map(named).collect();
        let states = states.map_err(|error| exception(py, &error))?;
        let labels = labels.into_iter().collect();
        let wanted = v1::ListJobsRequest { states, owner, name, labels, ..v1::ListJobsRequest::default() };
        let connection = Arc::clone(&self.0);
        Ok(Call::json(async move {
            let (jobs, _) = connection.client().await?.jobs(wanted, limit.unwrap_or(usize::MAX)).await?;
            Ok(jobs.iter().map(JobJson::from).collect::<Vec<_>>())
        }))
    }

    /// Answers with a list of the workers.
    fn workers(&self) -> Call {
        let connection = Arc::clone(&self.0);
        Call::json(async move {
            let workers = connection.client().await?.workers().await?;
            Ok(workers.iter().map(WorkerJson::from).collect::<Vec<_>>())
        })
    }

    /// Cancels a job and answers with it.
    fn cancel(&self, id: String) -> Call {
        self.about(id, |client, id| async move { client.cancel(&id).await })
    }

    /// Pauses a job and answers with it.
    fn pause(&self, id: String) -> Call {
        self.about(id, |client, id| async move { client.pause(&id).await })
    }

    /// Resumes a paused job and answers with it.
    fn resume(&self, id: String, accept_class: bool) -> Call {
        self.about(id, move |client, id| async move { client.resume(&id, accept_class).await })
    }

    /// Queues a failed or cancelled job again and answers with it.
    fn retry(&self, id: String) -> Call {
        self.about(id, |client, id| async move { client.retry(&id).await })
    }

    /// Deletes a job that has ended.
    fn delete(&self, id: String) -> Call {
        let connection = Arc::clone(&self.0);
        Call::silent(async move {
            let id = checked(&id)?;
            connection.client().await?.delete(&id).await
        })
    }

    /// Answers with a list of the checkpoints of a job.
    fn checkpoints(&self, id: String) -> Call {
        let connection = Arc::clone(&self.0);
        Call::json(async move {
            let id = checked(&id)?;
            let checkpoints = connection.client().await?.checkpoints(&id).await?;
            Ok(checkpoints.iter().map(CheckpointJson::from).collect::<Vec<_>>())
        })
    }

    /// Answers with a list of the outer steps that a job has done.
    fn metrics(&self, id: String) -> Call {
        let connection = Arc::clone(&self.0);
        Call::json(async move {
            let id = checked(&id)?;
            let client = connection.client().await?;
            let job = client.job_by_id(&id).await?;
            Ok(steps(&client, &job).await?.iter().map(StepJson::from).collect::<Vec<_>>())
        })
    }

    /// Answers with the summary of the outer steps that a job has done.
    fn summary(&self, id: String) -> Call {
        let connection = Arc::clone(&self.0);
        Call::json(async move {
            let id = checked(&id)?;
            let client = connection.client().await?;
            let job = client.job_by_id(&id).await?;
            let mut tally = Tally::default();
            steps(&client, &job).await?.iter().for_each(|step| tally.step(step));
            Ok(summary_of(&job, &tally))
        })
    }

    /// Fetches model and metrics of a job into a folder.
    fn fetch(&self, id: String, out: PathBuf, step: Option<Step>, force: bool) -> Call {
        let connection = Arc::clone(&self.0);
        Call::silent(async move {
            let id = checked(&id)?;
            let client = connection.client().await?;
            // The folder holds the results that the command prints.
            let console = Console::to(true, std::io::sink());
            Box::pin(fetch(&client, &id, which(step)?, (&out, force), &console)).await
        })
    }

    /// Fetches the model of a job into a file.
    fn download(&self, id: String, path: PathBuf, step: Option<Step>) -> Call {
        let connection = Arc::clone(&self.0);
        Call::silent(async move {
            let id = checked(&id)?;
            let client = connection.client().await?;
            Download::open(&client, &id, which(step)?).await?.save(&path).await.map(drop)
        })
    }

    /// Follows a job from its first event.
    fn watch(&self, py: Python<'_>, id: &str) -> PyResult<Events> {
        let id = checked(id).map_err(|error| exception(py, &error))?;
        Ok(Events::watch(Arc::clone(&self.0), id))
    }
}

/// What a checkpoint is asked for by: an outer step, or a word.
#[derive(FromPyObject)]
enum Step {
    Outer(u64),
    Named(String),
}

/// The checkpoint that a call asks for.
fn which(step: Option<Step>) -> Result<Option<WhichCheckpoint>, CliError> {
    match step {
        None => Ok(None),
        Some(Step::Outer(step)) => Ok(Some(WhichCheckpoint::OuterStep(step))),
        Some(Step::Named(name)) if name == "best" => Ok(Some(WhichCheckpoint::BEST)),
        Some(Step::Named(found)) => {
            Err(CliError::Usage(format!("step: expected an outer step or \"best\", found {found:?}")))
        }
    }
}

fn unknown_state(found: &str) -> CliError {
    CliError::Usage(format!(
        "state: expected queued, preparing, running, paused, succeeded, failed or cancelled, found {found:?}"
    ))
}
