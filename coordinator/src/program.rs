//! The coordinator as a program: command line, signals, exit codes.

mod sharing;
mod tasks;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use clap::builder::FalseyValueParser;
use lookbehind_identity::CERTIFICATE;
use lookbehind_telemetry::logs::{self, LogFormat};
use lookbehind_telemetry::probe::Probe;
use tokio::signal::unix::{SignalKind, signal};

use crate::state::{ExchangeRoute, Retention, WorkerGraceThen};
use crate::{Config, Coordinator, StartError};
use sharing::SharingArgs;
use tasks::Task;
use webhooks::WebhookArgs;

/// Exit code after a second signal, which ends the program before everything is finished.
const EXIT_INTERRUPTED: u8 = 130;
/// Exit code for unusable configuration or state, distinct from other failures: `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Takes training jobs over gRPC, splits every batch over workers and applies the optimizer.
#[derive(Debug, Parser)]
#[command(
    name = "lookbehind-coordinator",
    version,
    after_help = "Exit codes: 0 stopped on request or done, 1 failed, 78 unusable configuration or state, 130 \
                  ended at once by a second signal.",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    /// Address to listen on.
    #[arg(long, env = "LOOKBEHIND_LISTEN", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where dashboard, metrics and probes listen; the default is the port after --listen's, on the same address
    #[arg(long, env = "LOOKBEHIND_HTTP", value_name = "ADDRESS|off")]
    http: Option<Http>,
    /// Folder with cert.pem, key.pem, ca.pem and tokens.toml: connections are encrypted and callers are authenticated.
    #[arg(long, env = "LOOKBEHIND_CREDENTIALS", value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// Accept other machines without credentials: unencrypted, and with full access for everyone on the network.
    #[arg(long, env = "LOOKBEHIND_PLAINTEXT", value_parser = FalseyValueParser::new())]
    plaintext: bool,
    /// Show dashboard and metrics only after signing in.
    #[arg(long, env = "LOOKBEHIND_PRIVATE", value_parser = FalseyValueParser::new())]
    private: bool,
    /// Do not serve the descriptions of the gRPC services (reflection).
    #[arg(long, env = "LOOKBEHIND_NO_REFLECTION", value_parser = FalseyValueParser::new())]
    no_reflection: bool,
    /// Send traces of outer steps to this OpenTelemetry collector (OTLP over gRPC).
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    traces: Option<String>,
    /// Format of the log lines.
    #[arg(long, env = "LOOKBEHIND_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// Query a coordinator that was started with the same options: exit with 0 if it is ready, with 1 if not.
    #[arg(long)]
    probe: bool,
    /// Folder of the durable state: jobs, checkpoints, metrics.
    #[arg(long, env = "LOOKBEHIND_STATE", value_name = "DIR", required = true)]
    state: Option<PathBuf>,
    /// Seconds of silence after which a worker counts as lost; all other liveness deadlines derive from it.
    #[arg(long, env = "LOOKBEHIND_FAILURE_DETECTION", value_name = "SECONDS", default_value_t = 2.0)]
    failure_detection: f64,
    /// Seconds for which a running job without any worker is kept in memory.
    #[arg(long, env = "LOOKBEHIND_WORKER_GRACE", value_name = "SECONDS", default_value_t = 600)]
    worker_grace: u64,
    /// What becomes of the job then.
    #[arg(long, env = "LOOKBEHIND_WORKER_GRACE_THEN", value_name = "ACTION", value_enum, default_value_t)]
    worker_grace_then: WorkerGraceThen,
    /// Seconds that running outer steps may take after SIGTERM.
    #[arg(long, env = "LOOKBEHIND_SHUTDOWN_GRACE", value_name = "SECONDS", default_value_t = 30)]
    shutdown_grace: u64,
    /// Which way weights and partials travel; the results do not depend on it.
    #[arg(long, env = "LOOKBEHIND_EXCHANGE_ROUTE", value_name = "ROUTE", value_enum, default_value_t)]
    exchange_route: ExchangeRoute,
    /// Memory limit in MiB for the weights and optimizer states of all running jobs together.
    #[arg(long, env = "LOOKBEHIND_MEMORY", value_name = "MIB", default_value_t = 16 * 1024)]
    memory: u64,
    /// Maximum number of queued jobs; one user may have a quarter of them.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_queued_jobs: usize,
    /// Maximum number of kept jobs, including those that have ended; one user may have a quarter of them.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_jobs: u64,
    /// Maximum size in MiB of the specifications of all kept jobs; one user may have a quarter of it.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    max_job_bytes: u64,
    /// Maximum size in MiB of the checkpoints of all kept jobs; one owner may have a quarter of it.
    #[arg(long, value_name = "MIB", default_value_t = 4 * 1024 * 1024)]
    max_checkpoint_bytes: u64,
    /// Maximum size in MiB of all uploaded files; one user may have a quarter of it.
    #[arg(long, value_name = "MIB", default_value_t = 64 * 1024)]
    max_upload_bytes: u64,
    /// Days for which a job is kept after its end; without the option, for ever.
    #[arg(long, value_name = "DAYS")]
    retain_jobs_for: Option<u32>,
    /// Number of jobs that are kept of those that have ended; those beyond are deleted, the oldest first.
    #[arg(long, value_name = "N")]
    retain_finished_jobs: Option<u64>,
    /// Size in MiB of the files that are kept of jobs that have ended; beyond it the oldest jobs are deleted.
    #[arg(long, value_name = "MIB")]
    retain_bytes: Option<u64>,
    /// Maximum number of registered workers.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_workers: usize,
    /// Maximum number of registered workers that show the same certificate or token.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_workers_per_identity: usize,
    #[command(flatten)]
    sharing: SharingArgs,
    #[command(flatten)]
    webhooks: WebhookArgs,
    /// Maximum number of open connections of callers who have been let in; a worker has two.
    #[arg(long, value_name = "N", default_value_t = 4000)]
    max_connections: usize,
}

/// Where dashboard, metrics and probes listen.
#[derive(Clone, Copy, Debug)]
enum Http {
    Off,
    /// On the port after that of the gRPC services.
    After,
    At(SocketAddr),
}

impl FromStr for Http {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => {
                address.parse().map(Self::At).map_err(|error| format!("expected off or an address: {error}"))
            }
        }
    }
}

impl Http {
    fn address(self, listen: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
            // Port 0: the system chooses both ports.
            Self::After if listen.port() == 0 => Some(listen),
            Self::After => Some(SocketAddr::new(listen.ip(), listen.port().checked_add(1)?)),
        }
    }
}

impl Args {
    #[expect(clippy::expect_used, reason = "clap requires a state unless there is a task")]
    fn config(self) -> Config {
        Config {
            listen: self.listen,
            http: self.http.unwrap_or(Http::After).address(self.listen),
            credentials: self.credentials,
            plaintext: self.plaintext,
            private: self.private,
            reflection: !self.no_reflection,
            traces: self.traces,
            // NaN, negative and too large values become zero, which `Config::check` refuses as too short.
            failure_detection: Duration::try_from_secs_f64(self.failure_detection).unwrap_or_default(),
            worker_grace: Duration::from_secs(self.worker_grace),
            worker_grace_then: self.worker_grace_then,
            exchange_route: self.exchange_route,
            shutdown_grace: Duration::from_secs(self.shutdown_grace),
            memory: self.memory.saturating_mul(1 << 20),
            max_queued_jobs: self.max_queued_jobs,
            max_jobs: self.max_jobs,
            max_job_bytes: self.max_job_bytes.saturating_mul(1 << 20),
            max_checkpoint_bytes: self.max_checkpoint_bytes.saturating_mul(1 << 20),
            max_upload_bytes: self.max_upload_bytes.saturating_mul(1 << 20),
            retention: Retention {
                time: self.retain_jobs_for.map(|days| DAY * days),
                jobs: self.retain_finished_jobs,
                bytes: self.retain_bytes.map(|mib| mib.saturating_mul(1 << 20)),
            },
            max_workers: self.max_workers,
            max_workers_per_identity: self.max_workers_per_identity,
            max_connections: self.max_connections,
            sharing: self.sharing.rules(),
            webhooks: self.webhooks.config(),
            ..Config::new(self.state.expect("required unless there is a task, which was carried out before"))
        }
    }
}

/// Runs a coordinator with arguments from the command line.
pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(task) = &args.task {
        return tasks::run(task, args.log_format);
    }
    if args.probe {
        return probe(&args.config());
    }
    if let Err(error) = logs::init(args.log_format, "info") {
        eprintln!("{error}");
        return ExitCode::from(EXIT_CONFIG);
    }
    let config = args.config();
    let ended =
        tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(run(config)));
    match ended {
        Ok(Ended::Finished) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => {
            tracing::error!("{error}");
            let unusable = error.downcast_ref::<StartError>().is_some();
            ExitCode::from(if unusable { EXIT_CONFIG } else { 1 })
        }
    }
}

/// Asks a running coordinator whether it is ready.
fn probe(config: &Config) -> ExitCode {
    let Some(address) = config.http else {
        eprintln!("http: expected an address to ask at, found off");
        return ExitCode::from(EXIT_CONFIG);
    };
    let certificate = config.credentials.as_ref().map(|folder| folder.join(CERTIFICATE));
    Probe { address, certificate }.run()
}

/// How a coordinator ends that was asked to.
enum Ended {
    /// Running outer steps were finished, or given up after the grace period.
    Finished,
    /// A second signal ended it at once.
    Interrupted,
}

async fn run(config: Config) -> anyhow::Result<Ended> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut coordinator = Coordinator::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        reason = coordinator.broken() => anyhow::bail!("{reason}"),
    }
    tracing::info!(
        "shutdown requested: running outer steps are finished first; a second signal ends at once"
    );
    tokio::select! {
        () = coordinator.shutdown() => return Ok(Ended::Finished),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!(
        "a second signal: ended before running outer steps were finished; the newest checkpoints are kept"
    );
    Ok(Ended::Interrupted)
}
