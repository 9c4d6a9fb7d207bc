//! Configuration of a coordinator, and the checks made before a port is bound.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use lookbehind_proto::FAILURE_DETECTION;

use crate::state::{ExchangeRoute, Retention, Sharing, WorkerGraceThen};
use crate::webhooks::WebhookConfig;

/// Configuration of a coordinator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the gRPC services; with port 0 the system chooses a free one.
    pub listen: SocketAddr,
    /// Address of dashboard, metrics and probes; `None` disables them.
    pub http: Option<SocketAddr>,
    /// Folder with certificates and tokens. If set, all connections are encrypted and callers must authenticate.
    pub credentials: Option<PathBuf>,
    /// Whether to accept unencrypted connections from other machines if there are no credentials.
    pub plaintext: bool,
    /// Whether dashboard and metrics require signing in; needs credentials.
    pub private: bool,
    /// Whether to offer gRPC server reflection.
    pub reflection: bool,
    /// URL of an OpenTelemetry collector for traces (OTLP over gRPC); `None` sends none.
    pub traces: Option<String>,
    /// Folder of the durable state; created if it does not exist.
    pub state: PathBuf,
    /// A peer that is silent for longer than this is lost. All other liveness deadlines derive from it. 100 ms to
    /// 600 s.
    pub failure_detection: Duration,
    /// How long a running job without any worker is kept in memory.
    pub worker_grace: Duration,
    /// What becomes of it then.
    pub worker_grace_then: WorkerGraceThen,
    /// How long a shutdown waits for current outer steps and their checkpoints.
    pub shutdown_grace: Duration,
    /// How the way of weights and partials is chosen: between workers or through the coordinator.
    pub exchange_route: ExchangeRoute,
    /// Maximum number of queued jobs, at least 1; a user gets a quarter of it, and administrators may go on to twice as
    /// many.
    pub max_queued_jobs: usize,
    /// How workers are shared between users.
    pub sharing: Sharing,
    /// Maximum number of registered workers; at least 1.
    pub max_workers: usize,
    /// Maximum number of registered workers with the same identity; at least 1. Without credentials, workers have none.
    pub max_workers_per_identity: usize,
    /// Maximum number of connections, at least 1; a worker has two.
    pub max_connections: usize,
    /// Memory in bytes that the flat buffers of all active jobs may take together.
    pub memory: u64,
    /// Maximum size in bytes of an uploaded file.
    pub max_upload: u64,
    /// Maximum number of kept jobs, including those that have ended; at least 1. One user may have a quarter of them.
    pub max_jobs: u64,
    /// Maximum size in bytes of the specifications of all kept jobs together. One user may have a quarter of it, and jobs
    /// that have not ended an eighth.
    pub max_job_bytes: u64,
    /// Maximum size in bytes of the checkpoints of all kept jobs together. One owner may have a quarter of it.
    pub max_checkpoint_bytes: u64,
    /// Maximum size in bytes of all uploaded files together. One user may have a quarter of it.
    pub max_upload_bytes: u64,
    /// How long an uploaded file is kept that no job starts from.
    pub unused_upload: Duration,
    /// What is kept of the jobs that have ended.
    pub retention: Retention,
    /// Where events of jobs and of the cluster are sent; `None` sends none.
    pub webhooks: Option<WebhookConfig>,
}

/// An invalid value of an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: expected {expected}, found {found}")]
pub struct ConfigError {
    /// Name of the option on the command line.
    pub option: &'static str,
    /// What is valid.
    pub expected: &'static str,
    /// The invalid value.
    pub found: String,
}

impl Config {
    /// Default values with this state folder, on a free port of the loopback interface.
    pub fn new(state: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: None,
            credentials: None,
            plaintext: false,
            private: false,
            reflection: true,
            traces: None,
            state,
            failure_detection: Duration::from_secs(2),
            worker_grace: Duration::from_secs(600),
            worker_grace_then: WorkerGraceThen::default(),
            shutdown_grace: Duration::from_secs(30),
            exchange_route: ExchangeRoute::default(),
            max_queued_jobs: 1000,
            sharing: Sharing::default(),
            max_workers: 1000,
            max_workers_per_identity: 256,
            max_connections: 4000,
            memory: 16 << 30,
            max_upload: 8 << 30,
            max_jobs: 100_000,
            max_job_bytes: 1 << 30,
            max_checkpoint_bytes: 4 << 40,
            max_upload_bytes: 64 << 30,
            unused_upload: Duration::from_secs(24 * 3600),
            retention: Retention::default(),
            webhooks: None,
        }
    }

    /// Checks the values for what their types allow but the coordinator does not.
    ///
    /// # Errors
    /// Names the first option with an invalid value.
    pub fn check(&self) -> Result<(), ConfigError> {
        let detection = self.failure_detection;
        if !FAILURE_DETECTION.contains(&detection) {
            return Err(ConfigError {
                option: "failure-detection",
                expected: "100 ms to 600 s",
                found: format!("{detection:?}"),
            });
        }
        self.check_plaintext()?;
        self.check_webhooks()?;
        if self.private && self.credentials.is_none() {
            let expected = "credentials to sign in with: give --credentials";
            return Err(ConfigError { option: "private", expected, found: "none".into() });
        }
        let counts = [
            ("max-queued-jobs", self.max_queued_jobs),
            ("max-workers", self.max_workers),
            ("max-workers-per-identity", self.max_workers_per_identity),
            ("max-connections", self.max_connections),
            ("max-jobs", usize::try_from(self.max_jobs).unwrap_or(usize::MAX)),
            (
                "retain-finished-jobs",
                self.retention.jobs.map_or(usize::MAX, |jobs| usize::try_from(jobs).unwrap_or(usize::MAX)),
            ),
        ];
        for (option, value) in counts {
            if value == 0 {
                return Err(ConfigError { option, expected: "at least 1", found: "0".into() });
            }
        }
        Ok(())
    }

    /// Without credentials, only loopback addresses are allowed, unless `plaintext` is set.
    fn check_plaintext(&self) -> Result<(), ConfigError> {
        if self.credentials.is_some() || self.plaintext {
            return Ok(());
        }
        let addresses = [("listen", Some(self.listen)), ("http", self.http)];
        for (option, address) in addresses {
            if let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) {
                let expected = "a loopback address where there is no encryption; give --credentials, or --plaintext \
                                where everyone on the network has full access";
                return Err(ConfigError { option, expected, found: address.to_string() });
            }
        }
        Ok(())
    }

    /// Events for other machines are encrypted, unless `plaintext` is set.
    fn check_webhooks(&self) -> Result<(), ConfigError> {
        let urls = self.webhooks.iter().flat_map(|webhooks| &webhooks.urls);
        match urls.filter(|url| url.is_exposed() && !self.plaintext).count() {
            0 => Ok(()),
            // Without the URLs, which may hold secrets.
            exposed => Err(ConfigError {
                option: "webhook",
                expected: "https:// for receivers on other machines; give --plaintext to send in the clear",
                found: format!("{exposed} with http://"),
            }),
        }
    }

    /// Time between two ticks of the state machine, which checks deadlines at each.
    pub(crate) fn tick(&self) -> Duration {
        self.failure_detection / 8
    }

    /// How long a transfer may make no progress before it is given up.
    pub(crate) fn transfer_idle(&self) -> Duration {
        self.failure_detection * 4
    }
}
