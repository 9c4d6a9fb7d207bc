//! Clusters for benchmarks: all in this process, or each part in a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::job::{ExchangeFormat, parse_toml};
use lookbehind_coordinator::{Config, Coordinator};
use lookbehind_identity::{Access, Calls, Folder, Role as Holder, Wanted, provide};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_client::JobServiceClient;
use lookbehind_proto::v1::watch_job_response::Event;
use lookbehind_proto::wire;
use lookbehind_worker::{WorkerConfig, run_backend};
use tokio_util::sync::CancellationToken;

use super::roles::{CREDENTIALS, Process, Role};
use super::{ConstantBackend, Failure};

/// A job for the constant backend.
#[derive(Clone, Debug)]
pub struct BenchJob {
    /// Number of parameters of the model.
    pub parameters: usize,
    /// Number of shards of each batch.
    pub shards: u32,
    /// Number of outer steps.
    pub steps: u64,
    /// The `[optimizer]` section of a job file, without its heading.
    pub optimizer: String,
    /// Format in which gradients are added and exchanged.
    pub exchange: ExchangeFormat,
    /// Workers that the job waits for.
    pub workers: usize,
}

impl BenchJob {
    pub(super) fn spec(&self) -> Result<v1::JobSpec, Failure> {
        let Self { parameters, shards, steps, optimizer, exchange, workers } = self;
        let exchange = exchange.as_str();
        let text = format!(
            "name = \"bench\"\n[model]\nkind = \"constant\"\nparameters = {parameters}\n[data]\nkind = \"constant\"\n\
             [train]\nsteps = {steps}\nbatch_size = 64\nshards = {shards}\nexchange = \"{exchange}\"\n[checkpoint]\nevery_steps = 0\n\
             [resources]\nmin_workers = {workers}\n[optimizer]\n{optimizer}"
        );
        Ok(wire::to_proto(&parse_toml(&text)?))
    }

    /// Runs the job to its end and returns the metrics of its outer steps, except those before the first one in which
    /// all workers took part and the `warmup` ones after it.
    ///
    /// # Errors
    /// If the coordinator cannot be reached, the job does not succeed or the workers never all take part.
    pub async fn run(&self, url: &str, warmup: usize) -> Result<Vec<v1::OuterStepMetrics>, Failure> {
        self.run_as(&Access::new(url, None)?, warmup).await
    }

    async fn run_as(&self, access: &Access, warmup: usize) -> Result<Vec<v1::OuterStepMetrics>, Failure> {
        let mut steps = Vec::new();
        watch(self.spec()?, access, async |step, _: &mut _| steps.push(step)).await?;
        let together = steps.iter().position(|step| step.workers as usize == self.workers);
        let first = together.ok_or("no outer step had all workers")? + warmup;
        Ok(steps.split_off(first.min(steps.len())))
    }
}

/// Runs a job to its end, and passes on the metrics of each outer step when they come, with a client for questions.
pub(super) async fn watch(
    spec: v1::JobSpec,
    access: &Access,
    mut on_step: impl AsyncFnMut(v1::OuterStepMetrics, &mut JobServiceClient<Calls>),
) -> Result<(), Failure> {
    let mut client = JobServiceClient::new(access.connect(&access.endpoint()).await?);
    let request = v1::CreateJobRequest { request_id: "bench".into(), spec: Some(spec) };
    let job = client.create_job(request).await?.into_inner().job.ok_or("no job came")?;
    let request = v1::WatchJobRequest { job_id: job.id.clone(), ..Default::default() };
    let mut events = client.watch_job(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Step(step)) => on_step(step, &mut client).await,
            Some(Event::Notice(notice)) if notice.state() == v1::JobState::Failed => {
                return Err(notice.message.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Runs a job in a cluster inside this process.
///
/// # Errors
/// As for [`BenchJob::run`].
pub async fn run_inside(job: BenchJob, warmup: usize) -> Result<Vec<v1::OuterStepMetrics>, Failure> {
    let state = tempfile::tempdir()?;
    let coordinator = Coordinator::start(Config::new(state.path().to_owned())).await?;
    let url = format!("http://{}", coordinator.local_addr());
    let stop = CancellationToken::new();
    let workers: Vec<_> = (0..job.workers)
        .map(|number| {
            let config = WorkerConfig::new(url.clone(), format!("w{number}"), ".".into());
            tokio::spawn(run_backend(config, Arc::new(ConstantBackend::default()), stop.clone()))
        })
        .collect();
    let steps = job.run(&url, warmup).await;
    stop.cancel();
    for worker in workers {
        worker.await??;
    }
    coordinator.shutdown().await;
    steps
}

/// A cluster each part of which is a separate process; they end when it is dropped.
pub struct Outside {
    /// Address of the coordinator.
    pub url: String,
    credentials: Option<PathBuf>,
    processes: Vec<Process>,
    _state: tempfile::TempDir,
}

impl Outside {
    /// Starts a coordinator and workers.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn start(workers: usize) -> Result<Self, Failure> {
        Self::start_in(tempfile::tempdir()?, None, workers)
    }

    /// Starts a coordinator and workers with TLS and identities.
    ///
    /// # Errors
    /// If credentials cannot be created or a process cannot be started.
    pub fn start_guarded(workers: usize) -> Result<Self, Failure> {
        let state = tempfile::tempdir()?;
        let root = state.path().join(CREDENTIALS);
        let identities = vec![(Holder::Admin, "admin".to_owned()), (Holder::Worker, "worker".to_owned())];
        provide(&root, &Wanted { hosts: Vec::new(), identities, days: 1 })?;
        Self::start_in(state, Some(root), workers)
    }

    fn start_in(
        state: tempfile::TempDir,
        credentials: Option<PathBuf>,
        workers: usize,
    ) -> Result<Self, Failure> {
        let mut coordinator = Role::Coordinator(path(state.path())).spawn()?;
        let url = coordinator.line()?;
        let folder = credentials.as_ref().map_or_else(|| "-".to_owned(), |root| path(&root.join("worker")));
        let argument = format!("{url} {folder} 0");
        let mut cluster = Self { url, credentials, processes: vec![coordinator], _state: state };
        for _ in 0..workers {
            cluster.processes.push(Role::Worker(argument.clone()).spawn()?);
        }
        Ok(cluster)
    }

    /// Process id of the coordinator.
    pub fn coordinator_pid(&self) -> u32 {
        self.processes[0].id()
    }

    /// Runs a job to its end, as [`BenchJob::run`].
    ///
    /// # Errors
    /// As for [`BenchJob::run`], and if the job takes longer than two minutes.
    pub fn run(&self, job: BenchJob, warmup: usize) -> Result<Vec<v1::OuterStepMetrics>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let folder = self.credentials.as_ref().map(|root| Folder::new(root.join("admin")));
        let access = Access::new(&self.url, folder)?;
        let run = async { tokio::time::timeout(Duration::from_secs(120), job.run_as(&access, warmup)).await };
        runtime.block_on(run)?
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
