//! What floods cost those who do no harm. A job trains on one worker while strangers and a user do what they can to hold
//! it up: the benchmark prints how soon probes are answered, how fast the job is, and how much memory the coordinator
//! takes.
//!
//! Flood and service share the machine's cores, so that a flood takes their time even from whom it does not reach. The
//! speed is therefore compared with that under the same flood at another coordinator, which has nothing to do.

#![allow(clippy::expect_used, reason = "benchmarks fail by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use lookbehind_identity::{Access, Folder};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_client::JobServiceClient;
use lookbehind_tests::bench::{Samples, Table};
use lookbehind_tests::client::Client;
use lookbehind_tests::guarded::{Credentials, client};
use lookbehind_tests::jobs::job;
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use lookbehind_tests::unfinished::unfinished;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Seconds for which each flood is measured.
const MEASURED: Duration = Duration::from_secs(10);
/// Time between two probes.
const PROBES: Duration = Duration::from_millis(100);
/// Where floods come from: not from the address of the probes.
const ATTACKERS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// What each flood does at the same time.
const AT_ONCE: usize = 8;
/// Calls of a connection that are under way at once.
const CALLS: usize = 64;
/// A job that does not end by itself.
const JOB: &str = r#"
    name = "flooded"
    seed = 3
    [model]
    kind = "mlp"
    hidden = [256]
    [data]
    kind = "digits"
    [train]
    steps = 1000000
    batch_size = 256
    shards = 2
    [optimizer]
    method = "lookbehind"
    k = 2
    rho = 0.05
    alpha = 0.5
    [optimizer.base]
    kind = "sgd"
    lr = 0.01
    [checkpoint]
    every_steps = 1000000
"#;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let credentials = Credentials::new();
    let (service, idle) = (Service::start(&credentials).await, Service::start(&credentials).await);
    let _worker = service.worker(&credentials);
    let training = Training::start(&service, &credentials).await;
    let quiet = training.measure(&service, &credentials).await;
    println!("Without a flood: {:.1} outer steps/s, {}", quiet.steps, quiet.probes());
    println!("{} at once of each flood, for {} s:", AT_ONCE, MEASURED.as_secs());
    let table =
        Table::new(&["flood", "probes, ms", "outer steps/s", "of those elsewhere", "memory grows by, MiB"]);
    for flood in FLOODS {
        let elsewhere = under(flood, &idle, &training, &service, &credentials).await;
        let before = service.coordinator.peak_memory();
        let found = under(flood, &service, &training, &service, &credentials).await;
        let grown = (service.coordinator.peak_memory() - before) >> 20;
        table.row(&[
            flood.name.into(),
            found.probes(),
            format!("{:.1}", found.steps),
            format!("{:.2}", found.steps / elsewhere.steps),
            grown.to_string(),
        ]);
    }
}

/// Measures the training while a flood goes to `target`.
async fn under(
    flood: &Flood,
    target: &Service,
    training: &Training,
    service: &Service,
    credentials: &Credentials,
) -> Measured {
    let mut attackers = JoinSet::new();
    for _ in 0..AT_ONCE {
        attackers.spawn((flood.attack)(Attacker::new(target, credentials)));
    }
    let measured = training.measure(service, credentials).await;
    attackers.shutdown().await;
    measured
}

/// A coordinator that asks everyone for credentials.
struct Service {
    coordinator: Process,
    url: String,
    folder: TempDir,
}

impl Service {
    async fn start(credentials: &Credentials) -> Self {
        let folder = TempDir::with_prefix("lookbehind-floods-").expect("a folder");
        let of_coordinator = credentials.folder("coordinator");
        let args = [
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--state",
            "state",
            "--credentials",
            text(&of_coordinator),
        ];
        let mut coordinator = Process::start(programs::coordinator(), &args, folder.path(), "coordinator");
        let listens = coordinator.logged("coordinator listens address=").await;
        let address = listens.split_whitespace().next().expect("an address");
        let url = format!("https://{address}");
        Self { coordinator, url, folder }
    }

    fn worker(&self, credentials: &Credentials) -> Process {
        let of_worker = credentials.folder("worker");
        let args = ["--coordinator", &self.url, "--data", ".", "--credentials", text(&of_worker)];
        Process::start(programs::worker(), &args, self.folder.path(), "worker")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The job that must not be held up.
struct Training {
    admin: Client,
    id: String,
}

/// What was seen of it for a while.
struct Measured {
    /// Outer steps per second.
    steps: f64,
    /// Milliseconds from the connection of a probe to its answer.
    probes: Samples,
    /// Probes without an answer.
    refused: u32,
}

impl Measured {
    fn probes(&self) -> String {
        let refused = if self.refused == 0 { String::new() } else { format!(", {} refused", self.refused) };
        format!("{:.0} (at most {:.0}{refused})", self.probes.median(), self.probes.longest())
    }
}

impl Training {
    async fn start(service: &Service, credentials: &Credentials) -> Self {
        let admin = client(&service.url, &credentials.folder("admin"));
        let id = admin.submit(&job(JOB)).await;
        admin.watch(&id).await.until_step(20).await;
        Self { admin, id }
    }

    async fn measure(&self, service: &Service, credentials: &Credentials) -> Measured {
        let (begun, before) = (Instant::now(), self.admin.job(&self.id).await.outer_step);
        let (mut probes, mut refused) = (Samples::default(), 0);
        let mut due = tokio::time::interval(PROBES);
        while begun.elapsed() < MEASURED {
            due.tick().await;
            let asked = Instant::now();
            // As an orchestrator probes: over a connection of its own each time.
            let request = v1::GetJobRequest { job_id: self.id.clone() };
            match client(&service.url, &credentials.folder("admin")).jobs().get_job(request).await {
                Ok(_) => probes.push(asked.elapsed().as_secs_f64() * 1e3),
                Err(_) => refused += 1,
            }
        }
        let done = self.admin.job(&self.id).await.outer_step - before;
        Measured { steps: done as f64 / begun.elapsed().as_secs_f64(), probes, refused }
    }
}

/// Somebody who means harm. He begins again as soon as he was refused.
struct Attacker {
    address: SocketAddr,
    url: String,
    /// Only the authority's certificate.
    stranger: PathBuf,
    user: PathBuf,
}

impl Attacker {
    fn new(target: &Service, credentials: &Credentials) -> Self {
        let address = target.url.trim_start_matches("https://").parse().expect("an address");
        let stranger = credentials.only("alice", &["ca.pem"], "stranger");
        Self { address, url: target.url.clone(), stranger, user: credentials.folder("alice") }
    }

    fn connect(&self, folder: &Path) -> Channel {
        let access = Access::new(&self.url, Some(Folder::new(folder))).expect("an address");
        access.connect_lazy(&access.endpoint().local_address(Some(ATTACKERS)))
    }

    fn user(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.connect(&self.user))
    }

    /// Begins calls and completes none, over one connection after the other.
    async fn begin_calls(self, folder: PathBuf, path: &'static str, bytes: u32) {
        loop {
            let channel = self.connect(&folder);
            let mut calls = JoinSet::new();
            for _ in 0..CALLS {
                calls.spawn(unfinished(channel.clone(), path, bytes));
            }
            calls.join_all().await;
        }
    }
}

type Attack = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something to do again and again, until it is given up.
struct Flood {
    name: &'static str,
    attack: fn(Attacker) -> Attack,
}

const FLOODS: &[Flood] = &[
    Flood { name: "connections without a handshake", attack: |attacker| Box::pin(connections(attacker)) },
    Flood {
        name: "handshakes and calls without a certificate",
        attack: |attacker| Box::pin(handshakes(attacker)),
    },
    Flood {
        name: "calls without a certificate, not completed",
        attack: |attacker| {
            let stranger = attacker.stranger.clone();
            Box::pin(attacker.begin_calls(stranger, "/grpc.health.v1.Health/Check", 4000))
        },
    },
    Flood {
        name: "jobs of a user, not completed",
        attack: |attacker| {
            let user = attacker.user.clone();
            Box::pin(attacker.begin_calls(user, "/lookbehind.v1.JobService/CreateJob", 512 << 10))
        },
    },
    Flood {
        name: "large jobs of a user, created and cancelled",
        attack: |attacker| Box::pin(jobs(attacker)),
    },
    Flood { name: "calls of a user", attack: |attacker| Box::pin(calls(attacker)) },
];

async fn connections(attacker: Attacker) {
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((ATTACKERS, 0).into()).expect("an address of this machine");
        let _refused = socket.connect(attacker.address).await;
    }
}

async fn handshakes(attacker: Attacker) {
    loop {
        unfinished(attacker.connect(&attacker.stranger), "/lookbehind.v1.JobService/ListJobs", 1).await;
    }
}

async fn jobs(attacker: Attacker) {
    let mut user = attacker.user();
    let values = vec!["{ a = true }"; 1800].join(", ");
    let fill = "x".repeat(200 << 10);
    let large = JOB.replace("hidden = [256]", &format!("hidden = [{values}]\nfill = \"{fill}\""));
    let spec = lookbehind_proto::wire::to_proto(&job(&large));
    for number in 0_u64.. {
        let request_id = format!("{:p}-{number}", &raw const spec);
        let request = v1::CreateJobRequest { request_id, spec: Some(spec.clone()) };
        if let Some(created) =
            user.create_job(request).await.ok().and_then(|created| created.into_inner().job)
        {
            let _refused = user.cancel_job(v1::CancelJobRequest { job_id: created.id }).await;
        }
    }
}

async fn calls(attacker: Attacker) {
    let mut user = attacker.user();
    loop {
        let _refused = user.list_jobs(v1::ListJobsRequest::default()).await;
    }
}
