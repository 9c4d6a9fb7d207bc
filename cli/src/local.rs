//! A whole cluster inside this process: a coordinator on a loopback port, and workers that use the same services as
//! remote ones. Only tensors bypass the network: they are handed over in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use lookbehind_coordinator::{Config, Coordinator};
use lookbehind_worker::WorkerConfig;
use lookbehind_worker::compute::{Backend, CandleBackend};
use lookbehind_worker::data::{DataEnvironment, NewSamples, RemoteData};
use lookbehind_worker::device::{DeviceChoice, DeviceError};
use lookbehind_worker::registry::Registry;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::CliError;

/// The state folder of the coordinator.
pub enum State {
    /// A temporary folder that is removed when the cluster is dropped.
    Temporary(TempDir),
    /// A folder of the user, which is kept.
    Kept(PathBuf),
}

/// A running cluster.
pub struct Cluster {
    coordinator: Coordinator,
    workers: JoinSet<CliError>,
    stop: CancellationToken,
    // Declared last, so that it is dropped last: a temporary folder is removed after the coordinator is gone.
    _state: State,
}

impl State {
    /// Uses the given folder, or creates a temporary one.
    ///
    /// # Errors
    /// If no temporary folder can be created.
    pub fn new(folder: Option<&Path>) -> Result<Self, CliError> {
        match folder {
            Some(folder) => Ok(Self::Kept(folder.to_owned())),
            None => tempfile::Builder::new()
                .prefix("lookbehind-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(|error| CliError::write(&std::env::temp_dir(), error)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

impl Cluster {
    /// Starts a coordinator and `workers` workers. They load jobs with `backend` and data files from below `data`.
    ///
    /// # Errors
    /// If the coordinator cannot use its state folder or open a port.
    pub async fn start(
        state: State,
        workers: u16,
        data: &Path,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, CliError> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config { listen, ..Config::new(state.path().to_owned()) };
        let coordinator = Coordinator::start(config)
            .await
            .map_err(|error| CliError::ClusterStart { reason: error.to_string() })?;
        let mut cluster =
            Self { coordinator, workers: JoinSet::new(), stop: CancellationToken::new(), _state: state };
        for number in 1..=workers {
            let mut config = WorkerConfig::new(cluster.url(), format!("local-{number}"), data.to_owned());
            config.in_process = Some(cluster.coordinator.tensors());
            cluster.workers.spawn(worker(config, Arc::clone(&backend), cluster.stop.clone()));
        }
        Ok(cluster)
    }

    /// URL of the coordinator.
    pub fn url(&self) -> String {
        format!("http://{}", self.coordinator.local_addr())
    }

    /// Waits until the last worker has ended and returns the reason. Workers end by themselves only because of errors
    /// that affect all of them.
    pub async fn broken(&mut self) -> CliError {
        let mut last = CliError::ClusterStart { reason: "it has no workers".to_owned() };
        while let Some(ended) = self.workers.join_next().await {
            last = ended.unwrap_or_else(|error| CliError::ClusterStart { reason: error.to_string() });
        }
        last
    }

    /// Stops first the workers, then the coordinator.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
        self.coordinator.shutdown().await;
    }
}

/// The backend of the `workers` workers of this process, which share its threads. It knows the models and data sets of
/// `registry`, and reads files below `data` and from the sources that `remote` allows.
///
/// # Errors
/// If the device does not exist.
pub fn backend(
    registry: Registry,
    data: &Path,
    remote: RemoteData,
    workers: u16,
    device: &DeviceChoice,
) -> Result<Arc<CandleBackend>, DeviceError> {
    backend_for(registry, data, remote, workers, device, None)
}

/// As [`backend`]; with `new_samples`, these files take the place of the test split.
///
/// # Errors
/// If the device does not exist.
pub fn backend_for(
    registry: Registry,
    data: &Path,
    remote: RemoteData,
    workers: u16,
    device: &DeviceChoice,
    new_samples: Option<NewSamples>,
) -> Result<Arc<CandleBackend>, DeviceError> {
    let environment = DataEnvironment {
        remote,
        // The files are those of whoever runs this process.
        absolute_paths: true,
        new_samples,
        ..DataEnvironment::local(data.to_owned(), WorkerConfig::DEFAULT_MEMORY_LIMIT)
    };
    let threads = available_parallelism().map_or(1, NonZero::get) / usize::from(workers.max(1));
    CandleBackend::new(registry, environment).with_threads(threads.max(1)).on(device).map(Arc::new)
}

/// Runs a worker until it ends, and returns the reason.
async fn worker(config: WorkerConfig, backend: Arc<dyn Backend>, stop: CancellationToken) -> CliError {
    let name = config.name.clone();
    let reason = match lookbehind_worker::run_backend(config, backend, stop).await {
        Ok(()) => "it was asked to".to_owned(),
        Err(error) => {
            tracing::warn!(worker = name, %error, "worker stopped");
            error.to_string()
        }
    };
    CliError::WorkerStopped { name, reason }
}
