//! A coordinator, workers and users, each in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{Client, within};
use crate::cluster::Cluster;
use crate::guarded::{self, Credentials};
use crate::jobs::{SMALL_JOB, job, long_job, write_small};
use crate::process::Process;
use crate::programs;
use crate::volume::Volume;
use lookbehind_proto::v1;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Starts a program that ignores SIGXFSZ, see [`Process::limit_files`].
const SHIELDED: &str = "trap '' XFSZ; exec \"$0\" \"$@\"";

/// A coordinator with all of its files in one folder.
pub struct Machines {
    /// The coordinator; replaced at each restart.
    pub coordinator: Process,
    /// A user of the coordinator.
    pub client: Client,
    /// Address of its gRPC services.
    pub url: String,
    /// Address of its pages; another one after each restart.
    pub pages: SocketAddr,
    folder: TempDir,
    volume: Option<Volume>,
    credentials: Option<Credentials>,
    failure_detection: String,
    address: String,
    started: u32,
}

impl Machines {
    /// A coordinator whose failure detection is so patient that no worker is given up for being slow on a busy machine.
    pub async fn new() -> Self {
        Self::detecting("20").await
    }

    /// A coordinator with a failure detection of `failure_detection` seconds.
    pub async fn detecting(failure_detection: &str) -> Self {
        Self::with(failure_detection, None, None).await
    }

    /// The same with a file system of its own for the state, and with credentials.
    pub async fn guarded(failure_detection: &str, volume: Volume) -> Self {
        Self::with(failure_detection, Some(volume), Some(Credentials::new())).await
    }

    /// A coordinator whose state is on a file system of its own.
    pub async fn on_volume(volume: Volume) -> Self {
        Self::with("20", Some(volume), None).await
    }

    async fn with(failure_detection: &str, volume: Option<Volume>, credentials: Option<Credentials>) -> Self {
        let folder = TempDir::with_prefix("lookbehind-machines-").unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        write_small(&folder.path().join("data"));
        std::fs::write(folder.path().join("small.toml"), SMALL_JOB).unwrap();
        std::fs::write(folder.path().join("long.toml"), long_job()).unwrap();
        let (volume_of, guarded_by) = (volume.as_ref(), credentials.as_ref());
        let launch =
            Launch { folder: folder.path(), failure_detection, volume: volume_of, credentials: guarded_by };
        let (coordinator, address, pages) = launch.started("127.0.0.1:0", 0).await;
        let url = match credentials {
            None => format!("http://{address}"),
            Some(_) => format!("https://{address}"),
        };
        let client = match &credentials {
            None => Client::new(&url),
            Some(credentials) => guarded::client(&url, &credentials.folder("admin")),
        };
        let failure_detection = failure_detection.to_owned();
        let started = 1;
        Self {
            coordinator,
            client,
            url,
            pages,
            folder,
            volume,
            credentials,
            failure_detection,
            address,
            started,
        }
    }

    fn launch(&self) -> Launch<'_> {
        let Self { volume, credentials, failure_detection, .. } = self;
        let (volume, credentials) = (volume.as_ref(), credentials.as_ref());
        Launch { folder: self.folder.path(), failure_detection, volume, credentials }
    }

    /// The arguments with which a principal proves who it is.
    fn proof(&self, name: &str) -> Vec<String> {
        let folder = self.credentials.as_ref().map(|credentials| credentials.folder(name));
        folder.map_or_else(Vec::new, |folder| vec!["--credentials".into(), folder.display().to_string()])
    }

    /// The credentials that the coordinator requires.
    pub fn credentials(&self) -> &Credentials {
        self.credentials.as_ref().expect("a guarded coordinator")
    }

    /// The largest log that a process has written, in bytes.
    pub fn longest_log(&self) -> u64 {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = entries.filter(|path| path.extension().is_some_and(|end| end == "err"));
        logs.map(|path| std::fs::metadata(path).unwrap().len()).max().unwrap_or(0)
    }

    /// Starts the coordinator again, on the state and at the address of the one that has ended.
    pub async fn restart(&mut self) {
        let (coordinator, _, pages) = self.launch().started(&self.address, self.started).await;
        (self.coordinator, self.pages) = (coordinator, pages);
        self.started += 1;
    }

    /// Restarts the coordinator so that it crashes when it reaches a stage of writing for the Nth time, N being
    /// `count`.
    pub async fn crash_at(&mut self, stage: &str, count: u32) {
        self.coordinator.signal(Signal::TERM);
        self.coordinator.ended().await;
        std::fs::write(self.path("crash-at"), format!("{stage} {count}")).unwrap();
        self.restart().await;
        std::fs::remove_file(self.path("crash-at")).unwrap();
    }

    /// Starts the coordinator again, which must refuse its configuration or state; returns its error output.
    pub async fn start_in_vain(&self) -> String {
        let mut coordinator = self.launch().start(&self.address, self.started);
        assert_eq!(coordinator.exit().await, 78, "{}", coordinator.stderr());
        coordinator.stderr()
    }

    /// The file system that holds the state.
    pub fn volume(&self) -> &Volume {
        self.volume.as_ref().unwrap()
    }

    /// Starts a worker and waits until it is registered.
    pub async fn worker(&self, name: &str) -> Process {
        let worker = self.worker_at(&self.url, name);
        self.registered(name).await;
        worker
    }

    /// Starts a worker with further arguments and waits until it is registered.
    pub async fn worker_with(&self, name: &str, args: &[&str]) -> Process {
        let worker = self.start_worker(&self.url, name, args);
        self.registered(name).await;
        worker
    }

    /// Starts a worker that connects to the coordinator at the given address.
    pub fn worker_at(&self, url: &str, name: &str) -> Process {
        self.start_worker(url, name, &[])
    }

    fn start_worker(&self, url: &str, name: &str, args: &[&str]) -> Process {
        let data = self.path("data");
        let usual = ["--coordinator", url, "--data", data.to_str().unwrap(), "--name", name];
        let proof = self.proof("worker");
        let proof: Vec<&str> = proof.iter().map(String::as_str).collect();
        Process::start(programs::worker(), &[&usual, args, &proof].concat(), self.folder.path(), name)
    }

    /// Waits until a worker of that name is registered.
    pub async fn registered(&self, name: &str) {
        // One that has proved its identity is shown with it.
        let identity = self.credentials.as_ref().map_or("", |_| "worker/");
        let shown = format!("{identity}{name}");
        within(&format!("registration of {shown}"), async {
            while !self.client.workers().await.iter().any(|worker| worker.name == shown) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Starts the command line tool for this coordinator; `name` distinguishes its output files.
    pub fn user(&self, name: &str, args: &[&str]) -> Process {
        self.user_at(&self.url, name, args)
    }

    /// Starts the command line tool for the coordinator at the given address.
    pub fn user_at(&self, url: &str, name: &str, args: &[&str]) -> Process {
        let proof = self.proof("admin");
        let proof: Vec<&str> = proof.iter().map(String::as_str).collect();
        let args = [args, &["--coordinator", url], &proof].concat();
        Process::start(programs::lookbehind(), &args, self.folder.path(), name)
    }

    /// Runs the command line tool to its end; returns its exit code and the process, for its output.
    pub async fn ask(&self, name: &str, args: &[&str]) -> (i32, Process) {
        let mut user = self.user(name, args);
        (user.exit().await, user)
    }

    /// Submits one of the folder's jobs; returns its id.
    pub async fn submit(&self, file: &str) -> String {
        let (code, user) = self.ask(&format!("submit-{file}"), &["submit", file]).await;
        assert_eq!(code, 0, "{}", user.stderr());
        user.stdout().trim().to_owned()
    }

    /// Path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Outer steps of a job's checkpoints, oldest first.
    pub fn checkpoints(&self, id: &str) -> Vec<u64> {
        let state = self.volume.as_ref().map_or_else(|| self.path("state"), |volume| volume.path("state"));
        let folder = state.join("jobs").join(id).join("checkpoints");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let step = |name: std::ffi::OsString| name.to_str()?.strip_prefix("step-")?.parse().ok();
        let mut steps: Vec<u64> = names.filter_map(step).collect();
        steps.sort_unstable();
        steps
    }
}

/// How a coordinator is started.
struct Launch<'a> {
    folder: &'a Path,
    failure_detection: &'a str,
    volume: Option<&'a Volume>,
    credentials: Option<&'a Credentials>,
}

impl Launch<'_> {
    fn start(&self, address: &str, number: u32) -> Process {
        let state = self.volume.map_or_else(|| "state".to_owned(), Volume::state);
        // Not the default port for the pages, the one after `address`: another process may have taken it before a restart.
        let (http, detection) = ("127.0.0.1:0", self.failure_detection);
        let args = ["--listen", address, "--http", http, "--state", &state, "--failure-detection", detection];
        let guarded =
            self.credentials.map(|credentials| credentials.folder("coordinator").display().to_string());
        let guarded: Vec<&str> = guarded.iter().flat_map(|folder| ["--credentials", folder]).collect();
        let args = [&["-c", SHIELDED, programs::coordinator()], &args[..], &guarded].concat();
        let name = format!("coordinator-{number}");
        match self.volume {
            None => Process::start("sh", &args, self.folder, &name),
            Some(volume) => volume.start("sh", &args, self.folder, &name),
        }
    }

    /// The coordinator, the address of its services and that of its pages.
    async fn started(&self, address: &str, number: u32) -> (Process, String, SocketAddr) {
        let mut coordinator = self.start(address, number);
        let listens = coordinator.logged("coordinator listens address=").await;
        let mut words = listens.split_whitespace();
        let address = words.next().unwrap().to_owned();
        let pages = words.find_map(|word| word.strip_prefix("http=")?.parse().ok()).unwrap();
        (coordinator, address, pages)
    }
}

/// Digest of the long job's final weights, from one undisturbed worker.
pub async fn long_digest() -> &'static str {
    static DIGEST: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    let compute = || async { Cluster::of(1).await.client().run(&job(&long_job())).await.digest().to_owned() };
    DIGEST.get_or_init(compute).await
}

/// The lines of JSON that a program printed.
pub fn lines(user: &Process) -> Vec<Value> {
    user.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Outer steps that a program printed, in order.
pub fn reported_outer_steps(user: &Process) -> Vec<u64> {
    let steps = lines(user).into_iter().filter_map(|line| line["step"]["outer_step"].as_u64());
    steps.collect()
}

/// Checks that the finished job was seen from its first to its last step, and has the weights of an undisturbed run.
pub async fn ends_like_an_undisturbed_run(machines: &Machines, id: &str) {
    let history = machines.client.finish(id).await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    history.check_whole();
    assert_eq!(history.digest(), long_digest().await);
}
