//! The worker as a program, callable from a user's own binary.

mod check;
mod measure;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lookbehind_telemetry::logs;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::check::{Check, CheckError};
use self::measure::{Measure, MeasureError};
use crate::RemoteArgs;
use crate::compute::{Backend, CandleBackend};
use crate::data::DataEnvironment;
use crate::device::{DeviceChoice, DeviceError};
use crate::registry::Registry;
use crate::session::PeerListen;
use crate::session::{WorkerConfig, WorkerError};
use crate::telemetry::{ServeError, TelemetryArgs, WorkerMetrics};

/// Refused permanently: trying again cannot help.
const EXIT_REFUSED: u8 = 3;
/// No GPU can be used (EX_UNAVAILABLE).
const EXIT_NO_GPU: u8 = 69;
/// A GPU is lost to this process (EX_SOFTWARE); a new process may succeed.
const EXIT_DEVICE_LOST: u8 = 70;
/// The configuration cannot be used (EX_CONFIG).
const EXIT_CONFIG: u8 = 78;

/// Computes the gradients of its part of each batch for a coordinator.
#[derive(Debug, Parser)]
#[command(
    name = "lookbehind-worker",
    version,
    after_help = "Exit codes: 0 stopped on request, 1 failed, 2 invalid arguments, 3 refused by the coordinator, 69 no usable GPU, \
                  70 a GPU failed, 78 unusable configuration."
)]
struct Args {
    /// The coordinator's address.
    #[arg(long, env = "LOOKBEHIND_COORDINATOR", value_name = "URL", default_value = "http://127.0.0.1:7070")]
    coordinator: String,
    /// Folder with ca.pem and either cert.pem and key.pem or a token, for a coordinator at https://.
    #[arg(long, env = "LOOKBEHIND_CREDENTIALS", value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// Folder of the data files that jobs name; nothing outside it is read.
    #[arg(long, env = "LOOKBEHIND_DATA", value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Devices to compute on: auto (all GPUs, or the CPU if there is none), cpu, cuda (all GPUs), or GPUs by their
    /// numbers as in cuda:0,1.
    #[arg(long, env = "LOOKBEHIND_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Name that is shown to people; the default is the host's name and the process ID.
    #[arg(long, env = "LOOKBEHIND_WORKER_NAME")]
    name: Option<String>,
    /// Where other workers reach this one, so that weights and gradients need not all go through the coordinator: auto
    /// (a free port on the interface that reaches the coordinator), an address, or off.
    #[arg(long, env = "LOOKBEHIND_PEERS", value_name = "ADDRESS|auto|off", default_value = "auto")]
    peers: PeerListen,
    /// The address that other workers are told for --peers, where it is another one: behind NAT, or in a container.
    #[arg(long, env = "LOOKBEHIND_ADVERTISE", value_name = "HOST[:PORT]")]
    advertise: Option<String>,
    /// Memory limit in MiB for a job's samples, its weights and the computation of its shards.
    #[arg(long, env = "LOOKBEHIND_WORKER_MEMORY", value_name = "MIB", default_value_t = 8 * 1024)]
    memory: u64,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Commands that need no coordinator.
#[derive(Debug, Subcommand)]
enum Command {
    /// Compare every kernel of the GPUs with its definition in float64
    Check(Check),
    /// Measure the time of a job's gradients on this machine, in total and by phase
    Measure(Measure),
}

/// Why a worker ends by itself.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("data {}: {source}", path.display())]
    Data { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Measure(#[from] MeasureError),
}

impl ProgramError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Worker(WorkerError::Device(error)) | Self::Device(error) => exit_code_of_device(error),
            Self::Worker(WorkerError::DeviceLost { .. }) => ExitCode::from(EXIT_DEVICE_LOST),
            Self::Worker(WorkerError::Access(_)) | Self::Serve(_) | Self::Data { .. } => {
                ExitCode::from(EXIT_CONFIG)
            }
            Self::Check(error) if error.is_of_lost_device() => ExitCode::from(EXIT_DEVICE_LOST),
            Self::Measure(error) if error.is_of_lost_device() => ExitCode::from(EXIT_DEVICE_LOST),
            Self::Check(_) | Self::Measure(_) => ExitCode::FAILURE,
            Self::Worker(WorkerError::Refused { .. }) => ExitCode::from(EXIT_REFUSED),
            Self::Worker(WorkerError::System(_)) => ExitCode::FAILURE,
        }
    }
}

fn exit_code_of_device(error: &DeviceError) -> ExitCode {
    match error {
        DeviceError::NoGpu { .. } => ExitCode::from(EXIT_NO_GPU),
        DeviceError::NotBuilt { .. } | DeviceError::NoSuchGpu { .. } | DeviceError::Environment { .. } => {
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Runs a worker that knows the registry's models and data sets, with arguments from the command line.
pub fn main_with(registry: Registry) -> ExitCode {
    crate::threads::fix_number_of_threads();
    let args = Args::parse();
    if args.telemetry.probe {
        return args.telemetry.ask(args.credentials.as_deref());
    }
    if let Err(error) = logs::init(args.telemetry.log_format, "info") {
        eprintln!("{error}");
        return ExitCode::from(EXIT_CONFIG);
    }
    #[cfg(not(feature = "cuda"))]
    if let Err(error) = crate::handover::to_cuda(&args.device) {
        tracing::error!("{error}");
        return exit_code_of_device(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "threads cannot be started");
            return ExitCode::FAILURE;
        }
    };
    let ended = match args.command {
        Some(Command::Check(ref check)) => local_backend(&args, registry)
            .and_then(|backend| Ok(check.run(&backend.device(), &backend.gpus())?)),
        Some(Command::Measure(ref measure)) => {
            local_backend(&args, registry).and_then(|backend| Ok(measure.run(&backend)?))
        }
        None => runtime.block_on(serve(args, registry)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            error.exit_code()
        }
    }
}

/// The backend of a worker with these arguments, without a coordinator.
fn local_backend(args: &Args, registry: Registry) -> Result<CandleBackend, ProgramError> {
    check_data(&args.data)?;
    let (root, remote) = (args.data.clone(), args.remote.clone().into_data());
    let memory_limit = args.memory.saturating_mul(1 << 20);
    let environment = DataEnvironment { remote, ..DataEnvironment::local(root, memory_limit) };
    Ok(CandleBackend::new(registry, environment).on(&args.device)?)
}

/// Refuses a folder of data that is none: a job would fail for it much later.
fn check_data(path: &Path) -> Result<(), ProgramError> {
    let found = std::fs::metadata(path).and_then(|metadata| match metadata.is_dir() {
        true => Ok(()),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    });
    found.map_err(|source| ProgramError::Data { path: path.to_owned(), source })
}

async fn serve(args: Args, registry: Registry) -> Result<(), ProgramError> {
    check_data(&args.data)?;
    let shutdown = shutdown_signal()?;
    let metrics = WorkerMetrics::default();
    // The server outlives the worker, so that monitoring sees it leave.
    let over = CancellationToken::new();
    let server = args.telemetry.listen(args.credentials.as_deref(), &over).await?;
    let serving = server.map(|server| tokio::spawn(server.serve(metrics.clone(), over.clone())));
    let name = args.name.unwrap_or_else(default_name);
    let config = WorkerConfig {
        memory_limit: args.memory.saturating_mul(1 << 20),
        credentials: args.credentials,
        device: args.device,
        remote: args.remote.into_data(),
        peers: args.peers,
        advertise: args.advertise,
        metrics,
        ..WorkerConfig::new(args.coordinator, name, args.data)
    };
    let ended = crate::session::run(config, registry, shutdown).await;
    over.cancel();
    if let Some(serving) = serving {
        let _ = serving.await;
    }
    Ok(ended?)
}

/// A token that is cancelled when the process receives a signal to stop.
fn shutdown_signal() -> Result<CancellationToken, WorkerError> {
    let shutdown = CancellationToken::new();
    let listener = shutdown.clone();
    let system = |error: std::io::Error| WorkerError::System(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutdown requested: leaving the cluster");
        listener.cancel();
    });
    Ok(shutdown)
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}-{}", if host.is_empty() { "worker" } else { host }, std::process::id())
}
