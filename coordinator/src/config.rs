//! What a coordinator can be told, and the checks that come before a port is bound.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Configuration of a coordinator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the dashboard, metrics and probes listen; `None` serves none.
    pub http: Option<SocketAddr>,
    /// Folder of credentials: with it everything is encrypted and callers are asked who they are.
    pub credentials: Option<PathBuf>,
    /// Whether plain text may leave this machine, where there are no credentials.
    pub plaintext: bool,
    /// Whether the dashboard and metrics are only for those who sign in.
    pub private: bool,
    /// Whether clients may ask for the gRPC services' descriptions.
    pub reflection: bool,
    /// Where an OpenTelemetry collector takes traces (OTLP over gRPC); `None` sends none.
    pub traces: Option<String>,
    /// Folder of the durable state.
    pub state: PathBuf,
    /// Silence that means that a peer is lost. All other liveness deadlines derive from it.
    pub failure_detection: Duration,
    /// How long a running job may be without any worker before it fails.
    pub worker_grace: Duration,
    /// How long the current outer steps may take after a request to end.
    pub shutdown_grace: Duration,
    /// Jobs that may wait at a time.
    pub max_queued_jobs: usize,
    /// Workers that may be registered at a time.
    pub max_workers: usize,
    /// Connections that there may be at a time; a worker has two.
    pub max_connections: usize,
    /// Bytes that the flat buffers of all running jobs may take together.
    pub memory: u64,
    /// Most bytes of an uploaded file.
    pub max_upload: u64,
}

/// An impossible configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: expected {expected}, found {found}")]
pub struct ConfigError {
    /// The option.
    pub option: &'static str,
    /// What it may be.
    pub expected: &'static str,
    /// What it is.
    pub found: String,
}

impl Config {
    /// Defaults for a state folder, on a free port of the loopback interface.
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
            shutdown_grace: Duration::from_secs(30),
            max_queued_jobs: 1000,
            max_workers: 1000,
            max_connections: 4000,
            memory: 16 << 30,
            max_upload: 8 << 30,
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// Names the first option whose value is impossible.
    pub fn check(&self) -> Result<(), ConfigError> {
        let detection = self.failure_detection;
        if detection < Duration::from_millis(100) || detection > Duration::from_secs(600) {
            return Err(ConfigError {
                option: "failure-detection",
                expected: "100 ms to 600 s",
                found: format!("{detection:?}"),
            });
        }
        self.check_plaintext()?;
        if self.private && self.credentials.is_none() {
            let expected = "credentials to sign in with: give --credentials";
            return Err(ConfigError { option: "private", expected, found: "none".into() });
        }
        let counts = [
            ("max-queued-jobs", self.max_queued_jobs),
            ("max-workers", self.max_workers),
            ("max-connections", self.max_connections),
        ];
        for (option, value) in counts {
            if value == 0 {
                return Err(ConfigError { option, expected: "at least 1", found: "0".into() });
            }
        }
        Ok(())
    }

    /// Plain text leaves the machine only where that was asked for.
    fn check_plaintext(&self) -> Result<(), ConfigError> {
        if self.credentials.is_some() || self.plaintext {
            return Ok(());
        }
        let addresses = [("listen", Some(self.listen)), ("http", self.http)];
        for (option, address) in addresses {
            if let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) {
                let expected = "a loopback address where there is no encryption; give --credentials, or --plaintext \
                                where everybody on the network may do everything";
                return Err(ConfigError { option, expected, found: address.to_string() });
            }
        }
        Ok(())
    }

    /// Time between two looks of the state machine at the clock.
    pub(crate) fn tick(&self) -> Duration {
        self.failure_detection / 8
    }

    /// How long a transfer may stand still before it is given up.
    pub(crate) fn transfer_idle(&self) -> Duration {
        self.failure_detection * 4
    }
}
