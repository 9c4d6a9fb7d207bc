//! A cluster inside the test: a coordinator on a loopback port and workers that use the same services as on any other
//! machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::job::JobFile;
use lookbehind_coordinator::state::ExchangeRoute;
use lookbehind_coordinator::{Config, Coordinator};
use lookbehind_identity::{Access, Folder};
use lookbehind_proto::transfer::in_process::InProcess;
use lookbehind_proto::v1;
use lookbehind_worker::compute::{Backend, CandleBackend};
use lookbehind_worker::data::DataEnvironment;
use lookbehind_worker::registry::Registry;
use lookbehind_worker::{WorkerConfig, WorkerError};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, within};
use crate::jobs;

/// Memory limit of each worker.
const WORKER_MEMORY: u64 = 64 << 20;

/// A running cluster. Dropping it stops it immediately.
pub struct Cluster {
    url: String,
    client: Client,
    data: TempDir,
    workers: Vec<Worker>,
    coordinator: Coordinator,
    state: TempDir,
}

struct Worker {
    name: String,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), WorkerError>>,
}

impl Cluster {
    /// A coordinator without workers, and a data folder with the small data set. Failure detection is so patient that
    /// no worker is given up for being slow on a busy machine.
    pub async fn new() -> Self {
        Self::with_config(|_| ()).await
    }

    /// As [`Self::new`], with a change to the configuration.
    ///
    /// # Panics
    /// If the coordinator does not start.
    pub async fn with_config(change: impl FnOnce(&mut Config)) -> Self {
        Self::start(change, None).await
    }

    /// A coordinator that requires credentials; the cluster's own user has those of a folder.
    pub async fn guarded(user: &Path, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(change, Some(user)).await
    }

    async fn start(change: impl FnOnce(&mut Config), user: Option<&Path>) -> Self {
        let state = TempDir::with_prefix("lookbehind-state-").expect("a state folder");
        let data = TempDir::with_prefix("lookbehind-data-").expect("a data folder");
        jobs::write_small(data.path());
        let mut config = Config::new(state.path().to_owned());
        config.failure_detection = Duration::from_secs(60);
        // What is measured differs from run to run.
        config.exchange_route = ExchangeRoute::Workers;
        change(&mut config);
        let coordinator = Coordinator::start(config).await.expect("a coordinator");
        let address = coordinator.local_addr();
        let url = user.map_or(format!("http://{address}"), |_| format!("https://{address}"));
        let access = Access::new(&url, user.map(Folder::new)).expect("an address");
        Self { url, client: Client::of(&access), data, workers: Vec::new(), coordinator, state }
    }

    /// A cluster with workers `w1`, `w2`, …, all of them registered.
    pub async fn of(workers: usize) -> Self {
        let mut cluster = Self::new().await;
        for number in 1..=workers {
            let backend = cluster.backend(Registry::builtin());
            cluster.add(&format!("w{number}"), backend).await;
        }
        cluster
    }

    /// Address of the coordinator.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Address of its HTTP pages; `None` if they are off.
    pub fn http_addr(&self) -> Option<std::net::SocketAddr> {
        self.coordinator.http_addr()
    }

    /// A user of the cluster.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The data folder of its workers.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The coordinator's state folder.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// A candle backend on the cluster's data folder.
    pub fn backend(&self, registry: Registry) -> Arc<CandleBackend> {
        self.backend_on(registry, self.data.path())
    }

    /// A candle backend on another data folder.
    pub fn backend_on(&self, registry: Registry, data: &Path) -> Arc<CandleBackend> {
        let environment = DataEnvironment::local(data.to_owned(), WORKER_MEMORY);
        Arc::new(CandleBackend::new(registry, environment))
    }

    /// Adds a worker and waits until it is registered.
    pub async fn add(&mut self, name: &str, backend: Arc<dyn Backend>) {
        self.add_by(name, backend, |_| ()).await;
    }

    /// As [`Self::add`], with credentials.
    pub async fn add_as(&mut self, name: &str, backend: Arc<dyn Backend>, credentials: &Path) {
        self.add_by(name, backend, |config| config.credentials = Some(credentials.to_owned())).await;
    }

    /// As [`Self::add`], for a worker to which tensors are handed over instead of sent.
    pub async fn add_in_process(&mut self, name: &str, backend: Arc<dyn Backend>, tensors: InProcess) {
        self.add_by(name, backend, |config| config.in_process = Some(tensors)).await;
    }

    /// As [`Self::add`], for a worker that reaches the coordinator at another address, which is that of a proxy.
    pub async fn add_behind(&mut self, name: &str, backend: Arc<dyn Backend>, proxy: String) {
        self.add_by(name, backend, |config| config.coordinator = proxy).await;
    }

    /// The coordinator's tensor service.
    pub fn tensors(&self) -> InProcess {
        self.coordinator.tensors()
    }

    /// As [`Self::add`], with a change to the worker's configuration.
    pub async fn add_by(
        &mut self,
        name: &str,
        backend: Arc<dyn Backend>,
        change: impl FnOnce(&mut WorkerConfig),
    ) {
        let mut config = WorkerConfig::new(self.url.clone(), name.to_owned(), self.data.path().to_owned());
        change(&mut config);
        let stop = CancellationToken::new();
        let ended = tokio::spawn(lookbehind_worker::run_backend(config, backend, stop.clone()));
        self.workers.push(Worker { name: name.to_owned(), stop, ended });
        within(&format!("registration of {name}"), async {
            // With credentials, the name in them comes first if it is another.
            let is_it = |worker: &v1::Worker| worker.name.rsplit('/').next() == Some(name);
            while !self.client.workers().await.iter().any(is_it) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Asks a worker to leave and waits until it has.
    ///
    /// # Panics
    /// If there is no worker of that name.
    pub async fn stop(&mut self, name: &str) -> Result<(), WorkerError> {
        let position = self.workers.iter().position(|worker| worker.name == name).expect("the worker");
        let worker = self.workers.remove(position);
        worker.stop.cancel();
        within("the worker's end", worker.ended).await.expect("no panic")
    }

    /// Checks that the workers still complete a good job with the digest that it always has.
    ///
    /// # Panics
    /// If they do not.
    pub async fn still_works(&self) {
        let history = self.client.run(&jobs::small()).await;
        assert_eq!(history.digest(), small_digest().await, "a good job's weights changed");
        assert_eq!(history.state(), v1::JobState::Succeeded);
    }
}

/// The digest of a job on this many workers, all of which took part.
///
/// # Panics
/// If the job fails.
pub async fn digest_on(cluster: &Cluster, job: &JobFile, workers: u32) -> String {
    let mut job = job.clone();
    jobs::on_workers(&mut job, workers);
    within(&format!("a run of all {workers} workers"), async {
        loop {
            let history = cluster.client().run(&job).await;
            history.check_whole();
            // On a busy machine a run may end before the last worker has loaded the job.
            if history.most_workers() == workers {
                return history.digest().to_owned();
            }
        }
    })
    .await
}

/// Digest of the final weights of [`jobs::small`], from one undisturbed worker.
pub async fn small_digest() -> &'static str {
    static DIGEST: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    let compute = || async { Cluster::of(1).await.client().run(&jobs::small()).await.digest().to_owned() };
    DIGEST.get_or_init(compute).await
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.stop.cancel());
    }
}
