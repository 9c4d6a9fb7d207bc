//! The worker as a program, callable from a user's own binary.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::data::RemoteArgs;
use crate::registry::Registry;
use crate::session::{WorkerConfig, WorkerError};

/// Refused for good: trying again cannot help.
const EXIT_REFUSED: u8 = 3;
/// Configuration that cannot be used (EX_CONFIG).
const EXIT_CONFIG: u8 = 78;

/// Computes the gradients of its part of each batch for a coordinator.
#[derive(Debug, Parser)]
#[command(
    name = "lookbehind-worker",
    version,
    after_help = "Exit codes: 0 ended when asked to, 1 failed, 3 refused by the coordinator, 78 unusable configuration."
)]
struct Args {
    /// The coordinator's address.
    #[arg(long, env = "LOOKBEHIND_COORDINATOR", value_name = "URL", default_value = "http://127.0.0.1:7070")]
    coordinator: String,
    /// Folder with ca.pem and either cert.pem and key.pem or a token, for a coordinator at https://.
    #[arg(long, env = "LOOKBEHIND_CREDENTIALS", value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// Folder that jobs' data files are named in; nothing outside it is read.
    #[arg(long, env = "LOOKBEHIND_DATA", value_name = "DIR", default_value = ".")]
    data: PathBuf,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Name for people; the default is the host's name and the process.
    #[arg(long, env = "LOOKBEHIND_WORKER_NAME")]
    name: Option<String>,
    /// Mebibytes that the worker may have in use: a job's samples, its weights and what its shards take.
    #[arg(long, env = "LOOKBEHIND_WORKER_MEMORY", value_name = "MIB", default_value_t = 8 * 1024)]
    memory: u64,
}

/// Runs a worker that knows the registry's models and data sets, with arguments from the command line.
pub fn main_with(registry: Registry) -> ExitCode {
    crate::threads::fix_number_of_threads();
    let filter = EnvFilter::try_from_env("LOOKBEHIND_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the system gives no threads");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work(args, registry)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                WorkerError::Access(_) => ExitCode::from(EXIT_CONFIG),
                WorkerError::Refused { .. } => ExitCode::from(EXIT_REFUSED),
                WorkerError::System(_) => ExitCode::FAILURE,
            }
        }
    }
}

async fn work(args: Args, registry: Registry) -> Result<(), WorkerError> {
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
        tracing::info!("asked to end: leaving the cluster");
        listener.cancel();
    });
    let name = args.name.unwrap_or_else(default_name);
    let memory_limit = args.memory.saturating_mul(1 << 20);
    let config = WorkerConfig {
        memory_limit,
        credentials: args.credentials,
        remote: args.remote.into_data(),
        ..WorkerConfig::new(args.coordinator, name, args.data)
    };
    crate::session::run(config, registry, shutdown).await
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}-{}", if host.is_empty() { "worker" } else { host }, std::process::id())
}
