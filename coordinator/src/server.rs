//! A running coordinator: state, owner task and gRPC server put together, and taken down again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::ClusterId;
use lookbehind_common::transfer::in_process::InProcess;
use lookbehind_identity::{Folder, IdentityError, Watched};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::grpc::{self, Door};
use crate::runtime::{Clock, Feeds, Mailbox, Owner, Shared, WeightsTable};
use crate::state::event::Event;
use crate::state::{Core, CoreConfig};
use crate::store::{Opened, Store, StoreError};

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option is impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The credentials cannot be used.
    #[error("credentials: {0}")]
    Credentials(#[from] IdentityError),
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("listen {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gives no threads or random numbers.
    #[error("{0}")]
    System(String),
}

/// A running coordinator. Dropping it ends it at once; [`Coordinator::shutdown`] does so in good order.
#[derive(Debug)]
pub struct Coordinator {
    address: SocketAddr,
    shared: SharedHandle,
    stopped: CancellationToken,
    end: CancellationToken,
    grace: Duration,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    owner: JoinHandle<()>,
}

struct SharedHandle(Arc<Shared>);

impl std::fmt::Debug for SharedHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Coordinator {
    /// Checks the configuration, opens the state, binds the port and serves.
    ///
    /// # Errors
    /// When any of these fails.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let watched = config.credentials.clone().map(|folder| Watched::guarded(Folder::new(folder)));
        let watched = watched.transpose()?;
        let random = |error: getrandom::Error| StartError::System(error.to_string());
        let fresh = ClusterId(format!("{:016x}", getrandom::u64().map_err(random)?));
        let Opened { store, cluster, incarnation, records } =
            Store::open(&config.state, fresh, getrandom::u32().map_err(random)?)?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(|error| StartError::System(error.to_string()))?;
        let encrypted = config.credentials.is_some();
        tracing::info!(%address, encrypted, %cluster, %incarnation, jobs = records.len(), "coordinator listens");
        let core_config = CoreConfig {
            cluster,
            incarnation,
            failure_detection: config.failure_detection,
            worker_grace: config.worker_grace,
            max_queued_jobs: config.max_queued_jobs,
            max_workers: config.max_workers,
            memory: config.memory,
        };
        let heartbeat_interval = core_config.heartbeat_interval();
        let clock = Clock::start();
        let (core, commands) = Core::new(core_config, records, clock.now());
        let (mailbox, mail) = Mailbox::new();
        let shared = Shared {
            mailbox,
            weights: Arc::new(WeightsTable::default()),
            feeds: Arc::new(Feeds::default()),
            store: Arc::new(store),
            transfer_idle: config.transfer_idle(),
            failure_detection: config.failure_detection,
            heartbeat_interval,
            max_upload: config.max_upload,
        };
        let (stopped, end) = (CancellationToken::new(), CancellationToken::new());
        let owner = Owner::new(core, clock, shared.clone(), mail, stopped.clone())
            .map_err(|error| StartError::System(error.to_string()))?;
        let owner = tokio::spawn(owner.run(commands, heartbeat_interval / 2, end.clone()));
        let handle = SharedHandle(Arc::new(shared.clone()));
        let guard = watched.as_ref().map(Watched::subscribe);
        if let Some(watched) = watched {
            tokio::spawn(watched.run(end.clone()));
        }
        let door =
            Door { listener, guard, reflection: config.reflection, connections: config.max_connections };
        let server = tokio::spawn(grpc::serve(door, shared, end.clone().cancelled_owned()));
        Ok(Self { address, shared: handle, stopped, end, grace: config.shutdown_grace, server, owner })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its tensor service for workers in this process, which need not send tensors over the network. When the coordinator
    /// has ended, its calls are answered as unavailable.
    pub fn tensors(&self) -> InProcess {
        grpc::in_process(Arc::downgrade(&self.shared.0))
    }

    /// Resolves when it has ended by itself, which only a defect or a failing system can bring about.
    pub async fn broken(&mut self) -> String {
        tokio::select! {
            ended = &mut self.server => match ended {
                Ok(Ok(())) => "the server ended".into(),
                Ok(Err(error)) => format!("the server ended: {error}"),
                Err(error) => format!("the server broke: {error}"),
            },
            ended = &mut self.owner => match ended {
                Ok(()) => "the state machine ended".into(),
                Err(error) => format!("the state machine broke: {error}"),
            },
        }
    }

    /// Lets running jobs finish their outer step and write a checkpoint, within the grace period, and ends.
    pub async fn shutdown(mut self) {
        let asked = self.shared.0.mailbox.tell(Event::Shutdown).await;
        if asked.is_ok() && tokio::time::timeout(self.grace, self.stopped.cancelled()).await.is_err() {
            tracing::warn!(grace = ?self.grace, "outer steps took too long; the newest checkpoints stand");
        }
        self.end.cancel();
        let _ = (&mut self.owner).await;
        // Streams that are still open end with their connections.
        if tokio::time::timeout(Duration::from_secs(1), &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.end.cancel();
        self.server.abort();
        self.owner.abort();
    }
}
