//! A job on a cluster in this process, as `lookbehind train` runs it.

use std::path::PathBuf;
use std::sync::Arc;

use lookbehind::args::{Out, Train};
use lookbehind::client::Client;
use lookbehind::console::Console;
use lookbehind::error::CliError;
use lookbehind::follow::Follow;
use lookbehind::job::JobSource;
use lookbehind::local::{self, Cluster, State};
use lookbehind::output::Output;
use lookbehind_worker::compute::{Backend, CandleBackend};
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::registry::Registry;
use pyo3::prelude::*;

use crate::connection::usual_train;
use crate::errors::exception;
use crate::events::{Events, Lines};
use crate::source::{Source, Wanted, blocking};

/// How many workers a cluster in one process may have, as for the command.
const WORKERS: std::ops::RangeInclusive<u16> = 1..=64;

/// A training, driven by whoever waits for its events.
pub(crate) struct Training {
    plan: Arc<Plan>,
    console: Console,
    phase: Phase,
}

/// What is to be trained, and how.
struct Plan {
    job: Wanted,
    args: Train,
}

enum Phase {
    Planned,
    Running(Box<Cluster>, Box<Follow>),
    Over,
}

/// Plans a training. The first call for an event starts it. `out` is the folder of its files, and whether files of others
/// may be there.
#[pyfunction]
pub(crate) fn train(
    py: Python<'_>,
    source: &Source,
    settings: Vec<(String, Option<String>)>,
    workers: u16,
    device: Option<&str>,
    data: Option<PathBuf>,
    out: (PathBuf, bool),
) -> PyResult<Events> {
    let (folder, force) = out;
    let plan = || {
        let job = Wanted::new(source, settings, Vec::new())?;
        if !WORKERS.contains(&workers) {
            let (least, most) = (WORKERS.start(), WORKERS.end());
            return Err(CliError::Usage(format!("workers: expected {least} to {most}, found {workers}")));
        }
        let mut args = Train { workers, data, out: Out { out: Some(folder), force }, ..usual_train()? };
        if let Some(device) = device {
            args.device =
                device.parse::<DeviceChoice>().map_err(|error| CliError::Usage(error.to_string()))?;
        }
        Ok(Plan { job, args })
    };
    let plan = plan().map_err(|error| exception(py, &error))?;
    let lines = Lines::default();
    let console = Console::to(true, lines.clone());
    let training = Training { plan: Arc::new(plan), console, phase: Phase::Planned };
    Ok(Events::of_training(training, lines))
}

impl Training {
    /// Waits for the next event, which the console gets. Returns false after the last. Dropping the future loses no event.
    ///
    /// # Errors
    /// If the job is invalid, it fails, or the cluster breaks; the training is over then.
    pub(crate) async fn advance(&mut self) -> Result<bool, CliError> {
        let is_last = match &mut self.phase {
            Phase::Over => return Ok(false),
            Phase::Planned => {
                let (cluster, follow) = Box::pin(start(&self.plan, &self.console)).await?;
                self.phase = Phase::Running(Box::new(cluster), Box::new(follow));
                return Ok(true);
            }
            Phase::Running(cluster, follow) => tokio::select! {
                is_last = follow.next() => is_last,
                broken = cluster.broken() => Err(broken),
            },
        };
        match is_last {
            Ok(false) => Ok(true),
            Ok(true) => self.conclude().await.map(|()| true),
            Err(error) => {
                self.close().await;
                Err(error)
            }
        }
    }

    /// Fetches the model and writes the summary, which the console gets as the last event.
    async fn conclude(&mut self) -> Result<(), CliError> {
        let Phase::Running(cluster, follow) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return Ok(());
        };
        let concluded = Box::pin(follow.conclude()).await;
        cluster.shutdown().await;
        concluded
    }

    /// Ends the training where it stands.
    pub(crate) async fn close(&mut self) {
        if let Phase::Running(cluster, _) = std::mem::replace(&mut self.phase, Phase::Over) {
            cluster.shutdown().await;
        }
    }
}

/// Starts the cluster and hands it the job.
async fn start(plan: &Arc<Plan>, console: &Console) -> Result<(Cluster, Follow), CliError> {
    let args = &plan.args;
    let data = args.data.clone().unwrap_or_else(|| plan.job.source().folder());
    let remote = args.remote.clone().into_data();
    let backend = local::backend(Registry::builtin(), &data, remote, args.workers, &args.device)?;
    let source = read(plan, &backend).await?;
    let output = Output::prepare_for(&args.out, &source)?;
    let backend: Arc<dyn Backend> = backend;
    let cluster = Cluster::start(State::new(None)?, args.workers, &data, backend).await?;
    match Box::pin(hand_over(&cluster.url(), &source, output, console)).await {
        Ok(follow) => Ok((cluster, follow)),
        Err(error) => {
            cluster.shutdown().await;
            Err(error)
        }
    }
}

async fn read(plan: &Arc<Plan>, backend: &Arc<CandleBackend>) -> Result<JobSource, CliError> {
    let (plan, backend) = (Arc::clone(plan), Arc::clone(backend));
    blocking(move || plan.job.read_with(&backend)).await
}

async fn hand_over(
    url: &str,
    source: &JobSource,
    output: Option<Output>,
    console: &Console,
) -> Result<Follow, CliError> {
    let client = Client::connect(url).await?;
    let job = Box::pin(source.submit(&client)).await?;
    Ok(Follow::new(console, &client, job, output))
}
