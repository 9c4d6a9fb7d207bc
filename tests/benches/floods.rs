//! What floods cost those who do no harm. A job trains on one worker while strangers and a user do what they can to hold
//! it up: the benchmark prints how soon probes are answered, how fast the job is, and how much memory the coordinator
//! takes.
//!
//! Flood and service share the machine's cores, so that a flood takes their time even from whom it does not reach. The
//! speed is therefore compared with that under the same flood at another coordinator, which has nothing to do. The two are
//! measured in turn, several times, and the medians of the turns are printed: what else the machine does meanwhile falls
//! on both.

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

/// How long one turn of each flood is measured.
const MEASURED: Duration = Duration::from_secs(4);
/// How long a flood goes on before that, so that what may be done at once without waiting is over.
const SETTLED: Duration = Duration::from_secs(6);
/// Turns of each flood at the service, and as many at another one.
const TURNS: usize = 3;
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
    println!("{AT_ONCE} at once of each flood, {TURNS} turns of {} s:", MEASURED.as_secs());
    let table = Table::new(&[
        "flood",
        "probes, ms",
        "outer steps/s",
        "of those elsewhere",
        "of those without",
        "memory grows by, MiB",
    ]);
    for flood in FLOODS {
        let (mut here, mut shares, mut probes) =
            (Samples::default(), Samples::default(), Measured::default());
        let before = service.coordinator.peak_memory();
        for _ in 0..TURNS {
            let elsewhere = under(flood, &idle, &training, &service, &credentials).await;
            let found = under(flood, &service, &training, &service, &credentials).await;
            here.push(found.steps);
            shares.push(found.steps / elsewhere.steps);
            probes.add(found);
        }
        let grown = (service.coordinator.peak_memory() - before) >> 20;
        table.row(&[
            flood.name.into(),
            probes.probes(),
            format!("{:.1}", here.median()),
            format!("{:.2}", shares.median()),
            format!("{:.2}", here.median() / quiet.steps),
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
    tokio::time::sleep(SETTLED).await;
    let measured = training.measure(service, credentials).await;
    attackers.shutdown().await;
    measured
}

/// A coordinator that asks everyone for credentials.
struct Service {
    coordinator: Process,
    url: String,
    /// Where its pages are.
    pages: String,
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
            "127.0.0.1:0",
            "--state",
            "state",
            "--credentials",
            text(&of_coordinator),
        ];
        let mut coordinator = Process::start(programs::coordinator(), &args, folder.path(), "coordinator");
        let listens = coordinator.logged("coordinator listens address=").await;
        let mut fields = listens.split_whitespace();
        let url = format!("https://{}", fields.next().expect("an address"));
        let pages = fields.find_map(|field| field.strip_prefix("http=")).expect("the address of the pages");
        let pages = format!("https://{pages}");
        Self { coordinator, url, pages, folder }
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
#[derive(Default)]
struct Measured {
    /// Outer steps per second.
    steps: f64,
    /// Milliseconds from the connection of a probe to its answer.
    probes: Samples,
    /// Probes without an answer.
    refused: u32,
}

impl Measured {
    /// Adds the probes of another turn.
    fn add(&mut self, other: Self) {
        self.probes.append(other.probes);
        self.refused += other.refused;
    }

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
    pages: String,
    /// Only the authority's certificate.
    stranger: PathBuf,
    user: PathBuf,
}

impl Attacker {
    fn new(target: &Service, credentials: &Credentials) -> Self {
        let address = target.url.trim_start_matches("https://").parse().expect("an address");
        let stranger = credentials.only("alice", &["ca.pem"], "stranger");
        let (url, pages) = (target.url.clone(), target.pages.clone());
        Self { address, url, pages, stranger, user: credentials.folder("alice") }
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
    Flood { name: "requests for pages", attack: |attacker| Box::pin(pages(attacker)) },
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

async fn pages(attacker: Attacker) {
    let access = Access::new(&attacker.url, Some(Folder::new(&attacker.stranger))).expect("an address");
    let config = access.client_config().expect("the authority's certificate");
    let browser = reqwest::Client::builder().tls_backend_preconfigured((*config).clone());
    let browser = browser.local_address(ATTACKERS).build().expect("a browser");
    let overview = format!("{}/api/overview", attacker.pages);
    loop {
        let _refused = browser.get(&overview).send().await;
    }
}
