//! Start and shutdown of a coordinator: store, owner task, gRPC and HTTP servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::blocks::Blocks;
use lookbehind_common::ids::ClusterId;
use lookbehind_identity::{CERTIFICATE, Folder, IdentityError, Watched};
use lookbehind_proto::transfer::in_process::InProcess;
use lookbehind_telemetry::metrics;
use lookbehind_telemetry::traces::{TraceError, Traces};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backup;
use crate::certificate::Certificate;
use crate::config::{Config, ConfigError};
use crate::grpc::callers::Guard;
use crate::grpc::{self, ListenerConfig, ServeError};
use crate::http::{self, HttpConfig, Name};
use crate::observe::Observer;
use crate::runtime::{Clock, Feeds, Mailbox, Owner, Shared, Strangers, WeightsTable};
use crate::state::event::Event;
use crate::state::{Core, CoreConfig, KeepLimits};
use crate::store::{Opened, Store, StoreError};
use crate::webhooks::{Source, WebhookError};

/// How long a shutdown waits for the last spans to reach their collector.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option has an invalid value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The credentials cannot be used.
    #[error("credentials: {0}")]
    Credentials(#[from] IdentityError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// Webhooks cannot be sent.
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("{option} {address}: {source}")]
    Listen {
        /// Name of the option that sets it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The operating system provides no thread or no random number.
    #[error("{0}")]
    System(String),
}

/// A running coordinator. Dropping it aborts its tasks at once; [`Coordinator::shutdown`] ends it gracefully.
#[derive(Debug)]
pub struct Coordinator {
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    shared: SharedHandle,
    stopped: CancellationToken,
    end: CancellationToken,
    grace: Duration,
    server: JoinHandle<Result<(), ServeError>>,
    owner: JoinHandle<()>,
    http: Option<JoinHandle<()>>,
    /// Last, so that it ends last.
    _strangers: Strangers,
}

/// Gives `Shared` the `Debug` that [`Coordinator`] needs.
struct SharedHandle(Arc<Shared>);

impl std::fmt::Debug for SharedHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// A bound port and its address.
struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    async fn to(option: &'static str, wanted: SocketAddr) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { option, address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }
}

fn system(error: impl std::fmt::Display) -> StartError {
    StartError::System(error.to_string())
}

impl Coordinator {
    /// Checks the configuration, opens the state, binds the ports and serves.
    ///
    /// # Errors
    /// If any of these fails.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let folder = config.credentials.clone().map(Folder::new);
        let watched = folder.map(Watched::guarded).transpose()?;
        let traces = Traces::start(config.traces.as_deref(), "lookbehind-coordinator", BUILD_VERSION)?;
        let opened = open_store(&config)?;
        let grpc = BoundListener::to("listen", config.listen).await?;
        let http = match config.http {
            Some(wanted) => Some(BoundListener::to("http", wanted).await?),
            None => None,
        };
        let mut registry = metrics::registry(BUILD_VERSION);
        traces.register(&mut registry);
        let observer = Arc::new(Observer::new(&mut registry, traces, config.tick()));
        let name = Name { cluster: opened.cluster.to_string(), incarnation: opened.incarnation.0 };
        if let Some(webhooks) = &config.webhooks {
            let source = Source { cluster: name.cluster.clone(), incarnation: name.incarnation };
            observer.send_webhooks(webhooks, source)?;
        }
        let (address, http_address) = (grpc.address, http.as_ref().map(|bound| bound.address));
        tracing::info!(
            %address,
            http = http_address.map(tracing::field::display),
            encrypted = watched.is_some(),
            cluster = name.cluster,
            incarnation = name.incarnation,
            jobs = opened.stored.jobs.len(),
            "coordinator listens"
        );
        let strangers = Strangers::start().map_err(system)?;
        let (stopped, end) = (CancellationToken::new(), CancellationToken::new());
        let (shared, owner) = start_owner(&config, opened, observer, &stopped, &end)?;
        let guard = watched.as_ref().map(Watched::subscribe);
        if let Some(watched) = watched {
            let path = watched.folder().file(CERTIFICATE);
            let (guard, observer) = (watched.subscribe(), Arc::clone(&shared.observer));
            tokio::spawn(Certificate { path, guard, observer }.follow(end.clone()));
            tokio::spawn(watched.run(end.clone()));
        }
        let http = http.map(|BoundListener { listener, .. }| {
            let http_config =
                HttpConfig { listener, guard: guard.clone(), private: config.private, registry, name };
            strangers.handle().spawn(http::serve(http_config, shared.clone(), end.clone()))
        });
        let handle = SharedHandle(Arc::new(shared.clone()));
        let server = tokio::spawn(grpc::serve(
            listener_config(&config, grpc.listener, guard),
            shared,
            strangers.handle().clone(),
            end.clone(),
        ));
        let grace = config.shutdown_grace;
        Ok(Self {
            address,
            http_address,
            shared: handle,
            stopped,
            end,
            grace,
            server,
            owner,
            http,
            _strangers: strangers,
        })
    }

    /// Address of the gRPC services, with the port that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Address of dashboard, metrics and probes; `None` if they are disabled.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// The tensor service for workers in this process, which need not send tensors over the network. It keeps only a
    /// weak reference: after the coordinator has ended, calls are answered as unavailable.
    pub fn tensors(&self) -> InProcess {
        grpc::in_process(Arc::downgrade(&self.shared.0))
    }

    /// Resolves with the reason when the coordinator has ended without a shutdown, which happens only after a bug or a
    /// failure of the operating system.
    pub async fn broken(&mut self) -> String {
        tokio::select! {
            ended = &mut self.server => match ended {
                Ok(Ok(())) => "the server ended".into(),
                Ok(Err(error)) => format!("the server ended: {error}"),
                Err(error) => format!("the server failed: {error}"),
            },
            ended = &mut self.owner => match ended {
                Ok(()) => "the state machine ended".into(),
                Err(error) => format!("the state machine failed: {error}"),
            },
        }
    }

    /// Waits, at most for the grace period, until running jobs have finished their outer step and written a
    /// checkpoint, then ends.
    pub async fn shutdown(mut self) {
        self.shared.0.observer.ending();
        let asked = self.shared.0.mailbox.tell(Event::Shutdown).await;
        if asked.is_ok() && tokio::time::timeout(self.grace, self.stopped.cancelled()).await.is_err() {
            tracing::warn!(grace = ?self.grace, "outer steps took too long; the newest checkpoints are kept");
        }
        self.end.cancel();
        // The owner returns when all queued writes are done.
        let _ = (&mut self.owner).await;
        self.shared.0.observer.shutdown(LAST_SPANS).await;
        if let Some(http) = &mut self.http {
            // It ends open responses within a second; the timeout is only for safety.
            let _ = tokio::time::timeout(Duration::from_secs(2), http).await;
        }
        // Streams that are still open then end with their connections.
        if tokio::time::timeout(Duration::from_secs(1), &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

fn open_store(config: &Config) -> Result<Opened, StartError> {
    let fresh = ClusterId(format!("{:016x}", getrandom::u64().map_err(system)?));
    Ok(Store::open(&config.state, fresh, getrandom::u32().map_err(system)?)?)
}

/// Starts the state machine with the stored jobs.
fn start_owner(
    config: &Config,
    opened: Opened,
    observer: Arc<Observer>,
    stopped: &CancellationToken,
    end: &CancellationToken,
) -> Result<(Shared, JoinHandle<()>), StartError> {
    let Opened { store, cluster, incarnation, stored, removals } = opened;
    let core_config = CoreConfig {
        cluster,
        incarnation,
        failure_detection: config.failure_detection,
        worker_grace: config.worker_grace,
        worker_grace_then: config.worker_grace_then,
        max_queued_jobs: config.max_queued_jobs,
        max_workers: config.max_workers,
        max_workers_per_identity: config.max_workers_per_identity,
        sharing: config.sharing.clone(),
        keep: KeepLimits {
            jobs: config.max_jobs,
            job_bytes: config.max_job_bytes,
            checkpoint_bytes: config.max_checkpoint_bytes,
            upload_bytes: config.max_upload_bytes,
            unused_upload: config.unused_upload,
        },
        retention: config.retention.clone(),
        memory: config.memory,
        verification_key: getrandom::u64().map_err(system)?,
        blocks: Blocks::new,
        exchange_route: config.exchange_route,
        exchange_key: exchange_key()?,
    };
    let heartbeat_interval = core_config.heartbeat_interval();
    let clock = Clock::start();
    let (core, commands) = Core::new(core_config, stored, clock.now());
    let (mailbox, mail) = Mailbox::new();
    let shared = Shared {
        mailbox,
        observer,
        weights: Arc::new(WeightsTable::default()),
        feeds: Arc::new(Feeds::default()),
        store: Arc::new(store),
        transfer_idle: config.transfer_idle(),
        failure_detection: config.failure_detection,
        heartbeat_interval,
        max_upload: config.max_upload,
    };
    if let Err(error) = backup::socket::listen(&shared.store, end.clone()) {
        tracing::warn!(%error, "this state cannot be backed up while the coordinator runs");
    }
    let owner = Owner::new(core, clock, shared.clone(), mail, stopped.clone(), removals).map_err(system)?;
    Ok((shared, tokio::spawn(owner.run(commands, config.tick(), end.clone()))))
}

/// The secret of the exchanges of this incarnation.
fn exchange_key() -> Result<[u8; 32], StartError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(system)?;
    Ok(key)
}

fn listener_config(config: &Config, listener: TcpListener, guard: Guard) -> ListenerConfig {
    ListenerConfig { listener, guard, reflection: config.reflection, connections: config.max_connections }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.end.cancel();
        self.server.abort();
        self.owner.abort();
        if let Some(http) = &self.http {
            http.abort();
        }
    }
}
