//! A worker's life in a cluster: it registers, beats, loads jobs, computes and sends, and comes back by itself
//! when the coordinator was away.
//!
//! Three places that never wait for each other: the control stream with its heartbeats on a thread of its own
//! (`control`), the computing on another (`executor`), and the transfers on the caller's runtime (`transfer`).

mod backoff;
mod command;
mod control;
mod executor;
mod register;
mod route;
mod transfer;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use lookbehind_identity::{Access, AccessError, Folder};
use lookbehind_proto::transfer::in_process::InProcess;
use tokio_util::sync::CancellationToken;

use crate::compute::{Backend, CandleBackend};
use crate::data::{DataEnvironment, RemoteData};
use crate::device::{DeviceChoice, DeviceError};
use crate::registry::Registry;
use crate::telemetry::WorkerMetrics;
use backoff::Backoff;
use control::Ended;
use executor::Executor;
use register::Link;

/// Configuration of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The coordinator, for example `http://10.0.0.1:7070`.
    pub coordinator: String,
    /// Folder of credentials, for a coordinator that asks who calls; `None` calls in plain text.
    pub credentials: Option<PathBuf>,
    /// Name for people.
    pub name: String,
    /// Folder that jobs' files are named in.
    pub data: PathBuf,
    /// What it computes on.
    pub device: DeviceChoice,
    /// Where files that jobs name by URLs may come from.
    pub remote: RemoteData,
    /// Most bytes that the worker may have in use: a job's samples, its weights and what its shards take.
    pub memory_limit: u64,
    /// The coordinator's tensor service, where it runs in this process: tensors are handed over and not sent.
    pub in_process: Option<InProcess>,
    /// Where it counts what it does.
    pub metrics: WorkerMetrics,
}

impl WorkerConfig {
    /// Most bytes that a worker may have in use where nothing else is said: 8 GiB.
    pub const DEFAULT_MEMORY_LIMIT: u64 = 8 << 30;

    /// Defaults for a worker.
    pub fn new(coordinator: String, name: String, data: PathBuf) -> Self {
        Self {
            coordinator,
            credentials: None,
            name,
            data,
            device: DeviceChoice::Cpu,
            remote: RemoteData::default(),
            memory_limit: Self::DEFAULT_MEMORY_LIMIT,
            in_process: None,
            metrics: WorkerMetrics::default(),
        }
    }
}

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Address or credentials make no sense.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The coordinator will not have it.
    #[error("refused by the coordinator: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// There is nothing to compute on as chosen.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// What it computed on is lost to this process; a new one may do better.
    #[error("{reason}")]
    DeviceLost {
        /// What happened.
        reason: String,
    },
    /// The system gives no threads.
    #[error("{0}")]
    System(String),
}

/// Runs a worker with candle until `shutdown` is cancelled or the coordinator refuses it for good.
///
/// # Errors
/// When the address is none, or the coordinator will never take this worker.
pub async fn run(
    config: WorkerConfig,
    registry: Registry,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let (root, remote) = (config.data.clone(), config.remote.clone());
    let environment = DataEnvironment { root, remote, memory_limit: config.memory_limit };
    let backend = Arc::new(CandleBackend::new(registry, environment).on(&config.device)?);
    run_backend(config, backend, shutdown).await
}

/// Runs a worker with any backend.
///
/// # Errors
/// As [`run`].
pub async fn run_backend(
    config: WorkerConfig,
    backend: Arc<dyn Backend>,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let access = Access::new(&config.coordinator, config.credentials.clone().map(Folder::new))?;
    access.check()?;
    let device = backend.device();
    config.metrics.limit_memory(config.memory_limit);
    let executor = Executor::start(backend, tokio::runtime::Handle::current(), config.metrics.clone())?;
    let ended = sessions(&config, &access, &device, &executor, &shutdown).await;
    executor.finish().await;
    ended
}

/// One session after the other, until there is to be no further one.
async fn sessions(
    config: &WorkerConfig,
    access: &Access,
    device: &str,
    executor: &Executor,
    shutdown: &CancellationToken,
) -> Result<(), WorkerError> {
    let mut backoff = Backoff::default();
    loop {
        let link = Link {
            access: access.clone(),
            in_process: config.in_process.clone(),
            name: config.name.clone(),
            device: device.to_owned(),
            executor: executor.handle(),
            metrics: config.metrics.clone(),
            shutdown: shutdown.clone(),
        };
        match control::run(link).await? {
            Ended::Asked => return Ok(()),
            Ended::DeviceLost { reason } => return Err(WorkerError::DeviceLost { reason }),
            Ended::Refused { reason, retryable: false } => return Err(WorkerError::Refused { reason }),
            Ended::Refused { reason, .. } => tracing::warn!(worker = config.name, reason, "refused for now"),
            Ended::Lost { reason, registered } => {
                if registered {
                    backoff = Backoff::default();
                }
                tracing::warn!(worker = config.name, reason, "coordinator lost; trying again");
            }
        }
        let wait = backoff.next();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}
