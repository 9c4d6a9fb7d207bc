//! The control stream of one session, on a thread of its own: registration, heartbeats both ways, tasks in,
//! answers out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::ids::{Fence, WorkId};
use lookbehind_common::reduction::Node;
use lookbehind_identity::{Access, Authorize, tls_refusal};
use lookbehind_proto::PROTOCOL_VERSION;
use lookbehind_proto::convert::{FieldError, job_id, required};
use lookbehind_proto::transfer::in_process::InProcess;
use lookbehind_proto::v1;
use lookbehind_proto::v1::worker_service_client::WorkerServiceClient;
use lookbehind_proto::v1::{session_request, session_response};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Status, Streaming};

use super::WorkerError;
use super::executor::ExecutorHandle;
use super::route::{self, Route};
use super::task::{Assignment, Context, Says, Task};
use super::transfer::Transfers;
use super::upload::upload;
use crate::compute::{Work, WorkKind};
use crate::telemetry::{Registered, WorkerMetrics};

/// Messages that may wait for the stream.
const OUTGOING: usize = 64;
/// Partials that may wait for their upload while the next one is computed.
const UPLOADS: usize = 2;
/// How long the coordinator may take to answer a registration.
const REGISTRATION: Duration = Duration::from_secs(10);

/// What a session is made with.
pub(super) struct Link {
    pub(super) access: Access,
    pub(super) in_process: Option<InProcess>,
    pub(super) name: String,
    pub(super) device: String,
    pub(super) executor: ExecutorHandle,
    pub(super) metrics: WorkerMetrics,
    pub(super) shutdown: CancellationToken,
}

/// How a session ended.
pub(super) enum Ended {
    /// The worker was asked to end.
    Asked,
    /// The coordinator will not have it.
    Refused { reason: String, retryable: bool },
    /// The process is of no use any more.
    DeviceLost { reason: String },
    /// The connection is gone, or nothing came over it.
    Lost { reason: String, registered: bool },
}

/// Runs one session to its end. Bulk transfers run on the caller's runtime.
pub(super) async fn run(link: Link) -> Result<Ended, WorkerError> {
    let bulk = tokio::runtime::Handle::current();
    let (done, ended) = oneshot::channel();
    let system = |error: std::io::Error| WorkerError::System(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let _ = done.send(runtime.block_on(session(link, bulk)));
        })
        .map_err(system)?;
    ended.await.map_err(|_| WorkerError::System("the control thread ended unexpectedly".into()))
}

async fn session(link: Link, bulk: tokio::runtime::Handle) -> Ended {
    let shutdown = link.shutdown.clone();
    let opened = tokio::select! {
        opened = tokio::time::timeout(REGISTRATION, open(link, bulk)) => opened,
        () = shutdown.cancelled() => return Ended::Asked,
    };
    match opened {
        Ok(Ok(session)) => session.run().await,
        Ok(Err(ended)) => ended,
        Err(_) => Ended::Lost { reason: "no answer to the registration".into(), registered: false },
    }
}

fn unreachable(error: impl std::error::Error + 'static) -> Ended {
    if let Some(reason) = tls_refusal(&error) {
        return Ended::Lost { reason: format!("no encrypted connection: {reason}"), registered: false };
    }
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        reason = format!("{reason}: {inner}");
        source = inner.source();
    }
    Ended::Lost { reason, registered: false }
}

/// Connects and registers.
async fn open(link: Link, bulk: tokio::runtime::Handle) -> Result<Session, Ended> {
    let authorize = link.access.authorize().map_err(unreachable)?;
    let channel = link.access.connect(&route::endpoint(&link.access)).await.map_err(unreachable)?;
    let (outgoing, messages) = mpsc::channel(OUTGOING);
    let register = session_request::Message::Register(v1::Register {
        protocol: PROTOCOL_VERSION,
        version: BUILD_VERSION.to_owned(),
        name: link.name.clone(),
        device: link.device.clone(),
    });
    let first = v1::SessionRequest { fence: None, message: Some(register) };
    outgoing.send(first).await.map_err(unreachable)?;
    let mut client = WorkerServiceClient::with_interceptor(channel, authorize.clone());
    let response = client.session(ReceiverStream::new(messages)).await.map_err(not_let_in)?;
    let mut incoming = response.into_inner();
    let first = incoming.message().await.map_err(unreachable)?.unwrap_or_default();
    let (fence, registered) = match (first.fence, first.message) {
        (Some(fence), Some(session_response::Message::Registered(registered))) => (fence, registered),
        (_, Some(session_response::Message::Refused(refused))) => {
            return Err(Ended::Refused { reason: refused.reason, retryable: refused.retryable });
        }
        _ => return Err(Ended::Lost { reason: "expected registered first".into(), registered: false }),
    };
    let fence = Fence::from(fence);
    tracing::info!(worker = link.name, session = %fence.session, cluster = %fence.cluster, "registered");
    let route = route(&link, &bulk, Duration::from_millis(registered.failure_detection_ms.max(1)), authorize);
    Ok(Session::new(link, &bulk, route, fence, &registered, (outgoing, incoming)))
}

/// A coordinator that does not believe who calls, or has no use for them, does not change its mind by itself; but
/// credentials may be renewed, so that it is asked again.
fn not_let_in(status: Status) -> Ended {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            Ended::Refused { reason: status.message().to_owned(), retryable: true }
        }
        _ => unreachable(status),
    }
}

/// How tensors go: over a connection of their own, or within the process.
fn route(link: &Link, bulk: &tokio::runtime::Handle, detection: Duration, authorize: Authorize) -> Route {
    match &link.in_process {
        Some(in_process) => Route::InProcess(in_process.clone()),
        None => {
            let _guard = bulk.enter();
            let endpoint = route::watched(route::endpoint(&link.access), detection);
            Route::Network(link.access.connect_lazy(&endpoint), authorize)
        }
    }
}

/// A registered session.
struct Session {
    link: Link,
    fence: Fence,
    detection: Duration,
    interval: Duration,
    outgoing: mpsc::Sender<v1::SessionRequest>,
    incoming: Streaming<v1::SessionResponse>,
    says: mpsc::Receiver<Says>,
    context: Context,
    progress: Arc<AtomicU64>,
    /// The newest assignment's work and its number.
    newest: Option<(WorkId, u64)>,
    /// Ends what is under way when the session is over.
    _over: DropGuard,
    _registered: Registered,
}

impl Session {
    fn new(
        link: Link,
        bulk: &tokio::runtime::Handle,
        route: Route,
        fence: Fence,
        registered: &v1::Registered,
        (outgoing, incoming): (mpsc::Sender<v1::SessionRequest>, Streaming<v1::SessionResponse>),
    ) -> Self {
        let detection = Duration::from_millis(registered.failure_detection_ms.max(1));
        let interval = Duration::from_millis(registered.heartbeat_interval_ms.max(1));
        let progress = Arc::new(AtomicU64::new(0));
        let (say, says) = mpsc::channel(OUTGOING);
        let (uploads, partials) = mpsc::channel(UPLOADS);
        let over = CancellationToken::new();
        let metrics = link.metrics.clone();
        let registered = metrics.registered();
        let transfers =
            Transfers::new(route, fence.clone(), detection * 4, Arc::clone(&progress), over.clone(), metrics);
        bulk.spawn(upload(partials, transfers.clone(), say.clone()));
        let context = Context { transfers, says: say, uploads };
        Self {
            link,
            fence,
            detection,
            interval,
            outgoing,
            incoming,
            says,
            context,
            progress,
            newest: None,
            _over: over.drop_guard(),
            _registered: registered,
        }
    }

    /// Speaks and listens until something ends the session.
    async fn run(mut self) -> Ended {
        let mut beats = tokio::time::interval(self.interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut sequence = 0;
        let shutdown = self.link.shutdown.clone();
        loop {
            let lost = |reason: String| Ended::Lost { reason, registered: true };
            tokio::select! {
                message = self.incoming.message() => {
                    heard = Instant::now();
                    match message {
                        Ok(Some(message)) => if let Err(ended) = self.take(message) {
                            return ended;
                        },
                        Ok(None) => return lost("the coordinator closed the stream".into()),
                        Err(status) => return lost(status.message().to_owned()),
                    }
                }
                Some(says) = self.says.recv() => match says {
                    Says::Message(message) => if self.send(message).await.is_err() {
                        return lost("the stream is closed".into());
                    },
                    Says::Broken(reason) => return lost(reason),
                    Says::DeviceLost(reason) => {
                        self.leave().await;
                        return Ended::DeviceLost { reason };
                    }
                },
                _ = beats.tick() => {
                    sequence += 1;
                    let progress = self.progress.load(Ordering::Relaxed);
                    let beat = session_request::Message::Heartbeat(v1::Heartbeat { sequence, progress });
                    if self.send(beat).await.is_err() {
                        return lost("the stream is closed".into());
                    }
                }
                () = tokio::time::sleep_until(heard + self.detection) => {
                    return lost(format!("nothing was heard for {:?}", self.detection));
                }
                () = shutdown.cancelled() => return self.leave().await,
            }
        }
    }

    async fn send(&self, message: session_request::Message) -> Result<(), ()> {
        let request = v1::SessionRequest { fence: Some((&self.fence).into()), message: Some(message) };
        let sent = tokio::time::timeout(self.detection, self.outgoing.send(request)).await;
        sent.map_err(|_| ())?.map_err(|_| ())
    }

    /// Says goodbye: the coordinator gives what is in hand to others and answers with a release or by closing.
    async fn leave(mut self) -> Ended {
        self.link.executor.newest.overtake();
        if self.send(session_request::Message::Draining(v1::Draining {})).await.is_ok() {
            drop(self.outgoing);
            let closing = async { while let Ok(Some(_)) = self.incoming.message().await {} };
            let _ = tokio::time::timeout(self.detection, closing).await;
        }
        Ended::Asked
    }

    fn take(&mut self, response: v1::SessionResponse) -> Result<(), Ended> {
        use session_response::Message;
        if response.fence.map(Fence::from).as_ref() != Some(&self.fence) {
            return Err(Ended::Lost {
                reason: "a message for another session came".into(),
                registered: true,
            });
        }
        let task = match response.message {
            Some(Message::Heartbeat(_) | Message::Registered(_)) | None => return Ok(()),
            Some(Message::Refused(refused)) => {
                return Err(Ended::Refused { reason: refused.reason, retryable: refused.retryable });
            }
            Some(Message::Prepare(prepare)) => self.prepare(prepare),
            Some(Message::SendInitialState(send)) => {
                job_id(&send.job_id).map(|job| Task::SendInitialState(self.context.clone(), job))
            }
            Some(Message::Assign(assign)) => self.assign(assign),
            Some(Message::Release(release)) => {
                self.newest = None;
                self.link.executor.newest.overtake();
                job_id(&release.job_id).map(Task::Release)
            }
        };
        let task = task.map_err(|error| Ended::Lost { reason: error.to_string(), registered: true })?;
        self.link
            .executor
            .tasks
            .try_send(task)
            .map_err(|_| Ended::Lost { reason: "more tasks came than can wait".into(), registered: true })
    }

    fn prepare(&self, prepare: v1::Prepare) -> Result<Task, FieldError> {
        let spec = Box::new(required(prepare.spec, "spec")?);
        let job = job_id(&prepare.job_id)?;
        tracing::info!(%job, name = spec.name, "job comes");
        Ok(Task::Prepare(self.context.clone(), job, spec))
    }

    fn assign(&mut self, assign: v1::Assign) -> Result<Task, FieldError> {
        let kind = match assign.kind() {
            v1::WorkKind::Gradient => WorkKind::Gradient,
            v1::WorkKind::Test => WorkKind::Test,
            v1::WorkKind::Unspecified => return Err(FieldError { field: "kind" }),
        };
        let id = WorkId::try_from(required(assign.work, "work")?)?;
        let nodes = assign.nodes.into_iter().map(Node::try_from).collect::<Result<_, _>>()?;
        let number = match &self.newest {
            Some((work, number)) if *work == id => *number,
            _ => self.link.executor.newest.overtake(),
        };
        self.newest = Some((id.clone(), number));
        let work = Work { kind, epoch: assign.epoch, batch: assign.batch, shards: assign.shards };
        let assignment = Assignment { number, id, work, weights_version: assign.weights_version, nodes };
        Ok(Task::Compute(self.context.clone(), assignment))
    }
}
