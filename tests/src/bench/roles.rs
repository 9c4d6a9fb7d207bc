//! Processes of benchmarks: each runs the benchmark's own program again, in a role that its environment names.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use lookbehind_coordinator::state::ExchangeRoute;
use lookbehind_coordinator::{Config, Coordinator};
use lookbehind_worker::compute::{Backend, CandleBackend};
use lookbehind_worker::data::DataEnvironment;
use lookbehind_worker::registry::Registry;
use lookbehind_worker::{WorkerConfig, run_backend};
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use super::hosts::{Host, Unavailable};
use super::{ConstantBackend, Failure, spread, stream};

/// Folder of the credentials within a coordinator's state folder.
pub(super) const CREDENTIALS: &str = "credentials";
/// How long a process may take to end after its driver has.
const ENDING: Duration = Duration::from_secs(2);
/// Exit status of a benchmark for which this machine lacks something: 77, which test harnesses take as "skipped".
const UNAVAILABLE: u8 = 77;

const ROLE: &str = "LOOKBEHIND_BENCH_ROLE";
const ARGUMENT: &str = "LOOKBEHIND_BENCH_ARGUMENT";

/// The part that a process of a benchmark's own program takes.
#[derive(Clone, Debug)]
pub enum Role {
    /// The benchmark itself.
    Driver,
    /// A coordinator whose state is in the given folder; it requires credentials if the folder contains its own.
    Coordinator(String),
    /// A coordinator that listens on all interfaces and has a temporary folder for its state. What is given is the way of
    /// tensors, and the folder of all credentials or `-`.
    OpenCoordinator(String),
    /// A worker. What is given is the coordinator's address, a folder of credentials or `-`, and the seconds that it waits
    /// for each shard.
    Worker(String),
    /// As [`Role::Worker`], with the models and data of every worker, on one thread.
    Trainer(String),
    /// Creates a job and prints its outer steps; see `spread`.
    Runner(String),
    /// The receiving end of a stream; see `stream`.
    Receiver(usize),
    /// The sending end of a stream; see `stream`.
    Sender(String),
}

impl Role {
    /// The role of this process.
    pub fn of_this_process() -> Self {
        let argument = std::env::var(ARGUMENT).unwrap_or_default();
        match std::env::var(ROLE).as_deref() {
            Ok("coordinator") => Self::Coordinator(argument),
            Ok("open-coordinator") => Self::OpenCoordinator(argument),
            Ok("worker") => Self::Worker(argument),
            Ok("trainer") => Self::Trainer(argument),
            Ok("runner") => Self::Runner(argument),
            Ok("receiver") => Self::Receiver(argument.parse().unwrap_or(0)),
            Ok("sender") => Self::Sender(argument),
            _ => Self::Driver,
        }
    }

    /// Starts a process in this role.
    pub(super) fn spawn(&self) -> Result<Process, Failure> {
        self.start(Command::new(std::env::current_exe()?))
    }

    /// Starts a process in this role on a host.
    pub(super) fn spawn_on(&self, host: &Host) -> Result<Process, Failure> {
        self.start(host.command(std::env::current_exe()?))
    }

    fn start(&self, mut command: Command) -> Result<Process, Failure> {
        use std::os::unix::process::CommandExt;
        let (role, argument) = match self {
            Self::Driver => ("driver", String::new()),
            Self::Coordinator(state) => ("coordinator", state.clone()),
            Self::OpenCoordinator(credentials) => ("open-coordinator", credentials.clone()),
            Self::Worker(url) => ("worker", url.clone()),
            Self::Trainer(url) => ("trainer", url.clone()),
            Self::Runner(job) => ("runner", job.clone()),
            Self::Receiver(bytes) => ("receiver", bytes.to_string()),
            Self::Sender(argument) => ("sender", argument.clone()),
        };
        command.env(ROLE, role).env(ARGUMENT, argument).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C reaches the driver alone, and the others clean up when it is gone.
        let mut child = command.process_group(0).spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Process { child, output })
    }

    /// Serves in the role until the driver ends; `driver` is the benchmark itself.
    pub fn play(self, driver: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
        let ended = match self {
            Self::Driver => driver(),
            Self::Coordinator(state) => serve(coordinate(state)),
            Self::OpenCoordinator(credentials) => serve(coordinate_openly(credentials)),
            Self::Worker(argument) => with_driver(|gone| {
                let constant = |per_shard| Arc::new(ConstantBackend { per_shard }) as Arc<dyn Backend>;
                work(argument, constant, gone)
            }),
            Self::Trainer(argument) => with_driver(|gone| {
                let environment = DataEnvironment::local(".".into(), WorkerConfig::DEFAULT_MEMORY_LIMIT);
                let backend = CandleBackend::new(Registry::builtin(), environment).with_threads(1);
                work(argument, |_| Arc::new(backend.over_network()), gone)
            }),
            Self::Runner(job) => serve(spread::run_job(job)),
            Self::Receiver(bytes) => with_driver(|_| stream::receive(bytes)),
            Self::Sender(argument) => with_driver(|_| stream::send(&argument)),
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                error.downcast_ref::<Unavailable>().map_or(ExitCode::FAILURE, |_| UNAVAILABLE.into())
            }
        }
    }
}

/// A process in a role. When this is dropped, it ends.
pub(super) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// The next line that it prints.
    pub(super) fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err("a process of the benchmark has ended".into()),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Waiting closes the standard input first, which ends the process.
        let _ = self.child.wait();
    }
}

/// Acts until the driver ends, which closes this process's standard input, however it ends.
fn with_driver<T>(act: impl FnOnce(CancellationToken) -> T) -> T {
    let gone = CancellationToken::new();
    let token = gone.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        token.cancel();
        // What does not heed the token is ended.
        std::thread::sleep(ENDING);
        std::process::exit(1);
    });
    act(gone)
}

fn serve(role: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    with_driver(|gone| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(async { gone.run_until_cancelled(role).await.unwrap_or(Ok(())) });
        runtime.shutdown_background();
        ended
    })
}

async fn coordinate(state: String) -> Result<(), Failure> {
    let folder = Path::new(&state).join(CREDENTIALS).join("coordinator");
    let credentials = folder.exists().then_some(folder);
    let scheme = if credentials.is_some() { "https" } else { "http" };
    let state = Path::new(&state).join("state");
    let coordinator = Coordinator::start(Config { credentials, ..Config::new(state) }).await?;
    println!("{scheme}://{}", coordinator.local_addr());
    std::future::pending().await
}

async fn coordinate_openly(argument: String) -> Result<(), Failure> {
    let state = tempfile::tempdir()?;
    let (route, credentials) = argument.split_once(' ').ok_or("expected a route and a folder")?;
    let credentials = (credentials != "-").then(|| Path::new(credentials).join("coordinator"));
    let config = Config {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        plaintext: credentials.is_none(),
        credentials,
        exchange_route: ExchangeRoute::from_str(route, false)?,
        ..Config::new(state.path().join("state"))
    };
    let coordinator = Coordinator::start(config).await?;
    println!("{}", coordinator.local_addr().port());
    std::future::pending().await
}

/// Works until the driver ends: a worker leaves in order, so that nothing of it outlives its runtime.
fn work(
    argument: String,
    backend: impl FnOnce(Duration) -> Arc<dyn Backend>,
    gone: CancellationToken,
) -> Result<(), Failure> {
    let fields: Vec<&str> = argument.split(' ').collect();
    let [url, credentials, per_shard] = fields[..] else {
        return Err("expected an address, a folder and seconds".into());
    };
    let backend = backend(Duration::try_from_secs_f64(per_shard.parse()?)?);
    let config = WorkerConfig::new(url.to_owned(), format!("w{}", std::process::id()), ".".into());
    let config = WorkerConfig { credentials: (credentials != "-").then(|| credentials.into()), ..config };
    Ok(tokio::runtime::Runtime::new()?.block_on(run_backend(config, backend, gone))?)
}
