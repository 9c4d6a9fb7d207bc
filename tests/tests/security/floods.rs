//! Floods of requests that are begun and not completed: they take no more memory than is set aside for requests, and
//! other callers are served meanwhile.

use std::path::Path;

use lookbehind_identity::{Access, Folder};
use lookbehind_proto::v1;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::guarded::Credentials;
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use lookbehind_tests::unfinished::unfinished;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

/// Connections of a flood.
const CONNECTIONS: usize = 4;
/// Calls over each of them.
const CALLS: usize = 100;
/// The most by which the memory of a coordinator may grow, in bytes: 128 MiB are set aside for requests, and the
/// allocator may keep as much again of what was freed.
const BUDGET: u64 = 320 << 20;

/// A coordinator in a process of its own, so that its memory can be measured.
pub(super) struct Target {
    process: Process,
    pub(super) url: String,
    args: Vec<String>,
    folder: TempDir,
}

impl Target {
    pub(super) async fn start(credentials: Option<&Path>) -> Self {
        Self::with_args(credentials, &[]).await
    }

    pub(super) async fn with_args(credentials: Option<&Path>, further: &[&str]) -> Self {
        let folder = TempDir::with_prefix("lookbehind-flood-").unwrap();
        let mut args = vec![
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--state",
            "state",
            "--failure-detection",
            "0.5",
        ];
        args.extend(credentials.iter().flat_map(|folder| ["--credentials", folder.to_str().unwrap()]));
        args.extend(further);
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let (process, url) = run(&args, folder.path()).await;
        Self { process, url, args, folder }
    }

    /// Ends the process and starts another one on the same state.
    pub(super) async fn restart(&mut self) {
        self.process.signal(rustix::process::Signal::TERM);
        assert_eq!(self.process.exit().await, 0);
        (self.process, self.url) = run(&self.args, self.folder.path()).await;
    }

    /// Size of the database in bytes.
    pub(super) fn stored(&self) -> u64 {
        self.folder.path().join("state/state.redb").metadata().unwrap().len()
    }

    /// A connection of its own.
    fn connect(&self, credentials: Option<&Path>) -> Channel {
        let access = Access::new(&self.url, credentials.map(Folder::new)).unwrap();
        access.connect_lazy(&access.endpoint())
    }

    /// The most memory in bytes that the coordinator has had resident at once.
    pub(super) fn peak(&self) -> u64 {
        self.process.peak_memory()
    }

    /// Begins `CALLS` requests of `bytes` on each of some connections and completes none. Returns how they ended.
    async fn flood(&self, path: &'static str, bytes: u32, credentials: Option<&Path>) -> Vec<Code> {
        let calls = (0..CONNECTIONS).flat_map(|_| {
            let channel = self.connect(credentials);
            (0..CALLS).map(move |_| tokio::spawn(unfinished(channel.clone(), path, bytes)))
        });
        let calls: Vec<_> = calls.collect();
        let mut codes = Vec::new();
        for call in calls {
            codes.push(within("the end of a request that is not completed", call).await.unwrap());
        }
        codes
    }
}

/// Starts a coordinator. Returns the process and its address.
async fn run(args: &[String], folder: &Path) -> (Process, String) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut process = Process::start(programs::coordinator(), &args, folder, "coordinator");
    let address = process.logged("coordinator listens address=").await;
    let address = address.split_whitespace().next().unwrap();
    let scheme = if args.contains(&"--credentials") { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    (process, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_health_and_reflection_are_small_and_take_no_memory() {
    let credentials = Credentials::new();
    // A coordinator that accepts tokens lets callers without a certificate connect.
    let target = Target::start(Some(&credentials.folder("coordinator"))).await;
    let stranger = credentials.only("alice", &["ca.pem"], "stranger");
    let worker = credentials.folder("worker");
    let before = target.peak();
    for (path, caller) in [
        ("/grpc.health.v1.Health/Check", &stranger),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &worker),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &worker),
    ] {
        // Too large, and small enough to be let in but not completed. Connections without a call that was let in may
        // also be closed.
        for bytes in [4 << 20, 4000] {
            // How a call ends is the service's business; that each ends is what is awaited here.
            target.flood(path, bytes, Some(caller)).await;
        }
    }
    let grown = target.peak() - before;
    assert!(grown < 64 << 20, "grown by {} MiB", grown >> 20);
    assert!(
        lookbehind_tests::guarded::client(&target.url, &credentials.folder("admin"))
            .workers()
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_jobs_stay_within_the_budget_and_an_honest_user_is_served_again() {
    let target = Target::start(None).await;
    let before = target.peak();
    let codes = target.flood("/lookbehind.v1.JobService/CreateJob", 512 << 10, None).await;
    let grown = target.peak() - before;
    assert!(grown < BUDGET, "grown by {} MiB", grown >> 20);
    let refused = codes.iter().filter(|code| **code == Code::ResourceExhausted).count();
    let given_up = codes.iter().filter(|code| **code == Code::DeadlineExceeded).count();
    assert_eq!(refused + given_up, CONNECTIONS * CALLS, "{codes:?}");
    assert!(refused > 0 && given_up > 0, "{refused} refused, {given_up} given up");
    let codes = target.flood("/lookbehind.v1.JobService/CreateJob", 4 << 20, None).await;
    assert!(codes.iter().all(|code| *code == Code::OutOfRange), "{codes:?}");
    let client = Client::new(&target.url);
    client.jobs().list_jobs(v1::ListJobsRequest::default()).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_messages_of_a_worker_stay_within_the_budget() {
    let credentials = Credentials::new();
    let target = Target::start(Some(&credentials.folder("coordinator"))).await;
    let worker = credentials.folder("worker");
    let before = target.peak();
    for path in ["/lookbehind.v1.WorkerService/Session", "/lookbehind.v1.TensorService/UploadPartial"] {
        let codes = target.flood(path, 1 << 20, Some(&worker)).await;
        assert!(codes.iter().all(|code| *code != Code::Ok), "{path}: {codes:?}");
    }
    let grown = target.peak() - before;
    assert!(grown < BUDGET, "grown by {} MiB", grown >> 20);
}
