//! A worker's sessions: it registers, sends heartbeats, loads jobs, computes and sends partials, and reconnects by
//! itself when the coordinator was unreachable.
//!
//! Three activities never wait for each other: the control stream with its heartbeats on one thread (`control`), the
//! computing on another (`executor`), and the transfers on the caller's runtime (`transfer`).

mod backoff;
mod command;
mod complaints;
mod control;
mod ending;
mod exchange;
mod executor;
mod register;
mod route;
mod terms;
mod transfer;
mod upload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookbehind_identity::{Access, AccessError, Folder};
use lookbehind_proto::transfer::in_process::InProcess;
use tokio_util::sync::CancellationToken;

use crate::compute::{Backend, CandleBackend};
use crate::data::{DataEnvironment, RemoteData};
use crate::device::{DeviceChoice, DeviceError};
use crate::registry::Registry;
use crate::telemetry::WorkerMetrics;
use backoff::Backoff;
use complaints::Complaints;
use ending::{Ended, Reached};
use exchange::Listening;
pub use exchange::PeerListen;
use executor::Executor;
use register::Link;

/// Configuration of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The coordinator, for example `http://10.0.0.1:7070`.
    pub coordinator: String,
    /// Folder of credentials, for a coordinator that requires them; `None` connects in plain text.
    pub credentials: Option<PathBuf>,
    /// Name of the worker for people; it need not be unique.
    pub name: String,
    /// Folder to which the paths of data files in jobs are relative.
    pub data: PathBuf,
    /// Devices to compute on.
    pub device: DeviceChoice,
    /// Where files that jobs name by URL may come from.
    pub remote: RemoteData,
    /// Most bytes that the worker may have in use: a job's samples, its weights and what its shards take.
    pub memory_limit: u64,
    /// Where it takes connections from other workers. Workers of a coordinator in the same process have none.
    pub peers: PeerListen,
    /// The address that other workers are told, `HOST` or `HOST:PORT`; `None` for the one that it listens on.
    pub advertise: Option<String>,
    /// The coordinator's tensor service, if it runs in this process: tensors are then handed over instead of sent.
    pub in_process: Option<InProcess>,
    /// Counters of this worker's activity.
    pub metrics: WorkerMetrics,
}

impl WorkerConfig {
    /// Default memory limit: 8 GiB.
    pub const DEFAULT_MEMORY_LIMIT: u64 = 8 << 30;

    /// A worker on the CPU with default settings and without credentials.
    pub fn new(coordinator: String, name: String, data: PathBuf) -> Self {
        Self {
            coordinator,
            credentials: None,
            name,
            data,
            device: DeviceChoice::Cpu,
            remote: RemoteData::default(),
            memory_limit: Self::DEFAULT_MEMORY_LIMIT,
            peers: PeerListen::default(),
            advertise: None,
            in_process: None,
            metrics: WorkerMetrics::default(),
        }
    }
}

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Address or credentials are invalid.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The coordinator refuses this worker permanently, or its credentials.
    #[error("refused by the coordinator: {reason}")]
    Refused {
        /// The coordinator's reason.
        reason: String,
    },
    /// The chosen devices cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device is lost to this process; a new process may succeed.
    #[error("{reason}")]
    DeviceLost {
        /// The device's error message.
        reason: String,
    },
    /// The operating system failed, for example to start a thread.
    #[error("{0}")]
    System(String),
}

/// Runs a worker with candle until `shutdown` is cancelled or the coordinator refuses it permanently.
///
/// # Errors
/// If the address is invalid, the devices cannot be used or are lost, or the coordinator refuses this worker
/// permanently.
pub async fn run(
    config: WorkerConfig,
    registry: Registry,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let (root, remote) = (config.data.clone(), config.remote.clone());
    let environment = DataEnvironment { remote, ..DataEnvironment::local(root, config.memory_limit) };
    let backend = CandleBackend::new(registry, environment).on(&config.device)?;
    let backend = if config.in_process.is_some() { backend } else { backend.over_network() };
    run_backend(config, Arc::new(backend), shutdown).await
}

/// Runs a worker with any backend.
///
/// # Errors
/// As for [`run`].
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

/// Listens for other workers as configured. `None` if it is not to, or cannot yet.
async fn listen(config: &WorkerConfig, access: &Access) -> Result<Option<Listening>, WorkerError> {
    if config.in_process.is_some() || config.peers == PeerListen::Off {
        return Ok(None);
    }
    let own = match exchange::towards(access.host(), access.port()) {
        Ok(own) => own,
        Err(error) => {
            tracing::debug!(%error, "the coordinator's address is not known yet");
            return Ok(None);
        }
    };
    let address = match config.peers {
        PeerListen::At(address) => address,
        PeerListen::Auto | PeerListen::Off => SocketAddr::new(own, 0),
    };
    let (advertise, metrics) = (config.advertise.as_deref(), config.metrics.clone());
    Listening::start(address, own, advertise, access.is_secured(), metrics).await.map(Some)
}

/// Runs one session after the other, until there is a reason to stop.
async fn sessions(
    config: &WorkerConfig,
    access: &Access,
    device: &str,
    executor: &Executor,
    shutdown: &CancellationToken,
) -> Result<(), WorkerError> {
    let mut attempts = Attempts::default();
    let mut listening = None;
    loop {
        if listening.is_none() {
            listening = listen(config, access).await?.map(Arc::new);
        }
        let link = Link {
            listening: listening.clone(),
            access: access.clone(),
            in_process: config.in_process.clone(),
            name: config.name.clone(),
            device: device.to_owned(),
            executor: executor.handle(),
            metrics: config.metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let (ended, reached) = control::run(link).await?;
        let Some(wait) = attempts.wait_after(&config.name, ended, reached)? else { return Ok(()) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// The attempts of a worker to serve its coordinator: what follows the end of a session.
#[derive(Default)]
struct Attempts {
    backoff: Backoff,
    complaints: Complaints,
    /// Whether the coordinator has ever registered this worker.
    registered: bool,
}

impl Attempts {
    /// How long to wait before the next session; `None` if the worker was asked to stop.
    ///
    /// # Errors
    /// If there is no use in another session.
    fn wait_after(
        &mut self,
        worker: &str,
        ended: Ended,
        reached: Reached,
    ) -> Result<Option<Duration>, WorkerError> {
        if reached == Reached::Worked {
            self.backoff = Backoff::default();
        }
        if reached != Reached::Nothing {
            self.registered = true;
            self.complaints.forget();
        }
        let (reason, what) = match ended {
            Ended::Shutdown => return Ok(None),
            Ended::DeviceLost { reason } => return Err(WorkerError::DeviceLost { reason }),
            Ended::Refused { reason, retryable: false } => return Err(WorkerError::Refused { reason }),
            // Credentials that were accepted once may be about to be renewed. Others stay wrong.
            Ended::Unaccepted { reason } if !self.registered => return Err(WorkerError::Refused { reason }),
            Ended::Refused { reason, .. } | Ended::Unaccepted { reason } => (reason, "refused for now"),
            Ended::Lost { reason } if reached == Reached::Nothing => {
                (reason, "no coordinator can be reached")
            }
            Ended::Lost { reason } => (reason, "coordinator lost"),
        };
        if self.complaints.is_due(Instant::now(), &reason) {
            tracing::warn!(worker, reason, "{what}; trying again");
        } else {
            tracing::debug!(worker, reason, "{what}; trying again");
        }
        Ok(Some(self.backoff.next()))
    }
}

#[cfg(test)]
mod tests;
