//! The control stream of one session, on a thread of its own, so that neither computing nor transfers delay a
//! heartbeat: heartbeats in both directions, commands in, messages out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lookbehind_common::ids::{FencingToken, RequestId};
use lookbehind_common::reduction::Segment;
use lookbehind_common::test_set::TestSet;
use lookbehind_common::text::brief;
use lookbehind_proto::convert::{FieldError, digests_from_bytes, job_id, required};
use lookbehind_proto::v1;
use lookbehind_proto::v1::{session_request, session_response};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;

use super::WorkerError;
use super::command::{Assignment, Context, ExecutorCommand, ExecutorMessage};
use super::ending::{Ended, Reached};
use super::exchange::{Exchanging, Round, RoundStart};
use super::register::{Link, Registration, register};
use super::terms::Terms;
use super::transfer::Transfers;
use super::upload::upload;
use crate::compute::{Request, RequestKind};
use crate::telemetry::Registered;

/// Messages of the executor that may wait for the stream.
const ANSWERS: usize = 64;
/// Partials that may wait for their upload while the next one is computed.
const UPLOADS: usize = 2;
/// Most characters of a job's name in the log.
const MAX_NAME: usize = 128;

/// A session that lasted at least this long has worked: attempts that follow it at once cost little.
const LASTING: Duration = Duration::from_secs(10);

/// Runs one session to its end, and says how far it came. Bulk transfers run on the caller's runtime.
pub(super) async fn run(link: Link) -> Result<(Ended, Reached), WorkerError> {
    let bulk = Handle::current();
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

async fn session(link: Link, bulk: Handle) -> (Ended, Reached) {
    let registered = tokio::select! {
        registered = register(&link, &bulk) => registered,
        () = link.shutdown.cancelled() => return (Ended::Shutdown, Reached::Nothing),
    };
    match registered {
        Ok(registration) => {
            let (session, begun) = (Session::new(link, &bulk, registration), Instant::now());
            let delivered = session.context.transfers.delivered();
            let ended = session.run().await;
            let worked = delivered.load(Ordering::Relaxed) || begun.elapsed() >= LASTING;
            (ended, if worked { Reached::Worked } else { Reached::Registered })
        }
        Err(ended) => (ended, Reached::Nothing),
    }
}

/// A registered session. When it is dropped, its transfers are cancelled, and the worker counts as not registered.
struct Session {
    /// Runs transfers.
    bulk: Handle,
    /// What it was created with: the executor's commands, and the token that asks the worker to stop.
    link: Link,
    /// Sent with every message; a message that carries another one ends the session.
    fencing_token: FencingToken,
    /// Silence of the coordinator after which the session is lost.
    detection: Duration,
    /// Time between the worker's own heartbeats.
    interval: Duration,
    outgoing: mpsc::Sender<v1::SessionRequest>,
    incoming: Streaming<v1::SessionResponse>,
    /// Messages of the executor and of the uploads.
    messages: mpsc::Receiver<ExecutorMessage>,
    /// Passed along with each command, for the answers to it.
    context: Context,
    /// Incremented for every shard and every chunk; heartbeats report it, so that the coordinator can distinguish slow
    /// workers from stuck ones.
    progress: Arc<AtomicU64>,
    /// The newest assignment's request and its number: further segments of the same request do not supersede it.
    generation: Option<(RequestId, u64)>,
    /// Ends the exchange with other workers when the session is dropped.
    _exchanging: Option<Exchanging>,
    /// Cancels the transfers when the session is dropped.
    _over: DropGuard,
    /// Counts the worker as registered as long as the session lasts.
    _registered: Registered,
}

impl Session {
    fn new(link: Link, bulk: &Handle, registration: Registration) -> Self {
        let Registration { fencing_token, terms, outgoing, incoming, route } = registration;
        let Terms { detection, interval } = terms;
        let progress = Arc::new(AtomicU64::new(0));
        let (sender, messages) = mpsc::channel(ANSWERS);
        let (uploads, partials) = mpsc::channel(UPLOADS);
        let over = CancellationToken::new();
        let metrics = link.metrics.clone();
        let registered = metrics.registered();
        let transfers = Transfers::new(
            route,
            fencing_token.clone(),
            detection * 4,
            Arc::clone(&progress),
            over.clone(),
            metrics,
        );
        bulk.spawn(upload(partials, transfers.clone(), sender.clone()));
        let exchanging = link.listening.clone().map(Exchanging);
        let peers = exchanging.as_ref().map(|Exchanging(listening)| listening.peers.clone());
        Self {
            bulk: bulk.clone(),
            link,
            fencing_token,
            detection,
            interval,
            outgoing,
            incoming,
            messages,
            context: Context { transfers, messages: sender, uploads, peers },
            progress,
            generation: None,
            _exchanging: exchanging,
            _over: over.drop_guard(),
            _registered: registered,
        }
    }

    /// Sends and receives until something ends the session.
    async fn run(mut self) -> Ended {
        let mut beats = tokio::time::interval(self.interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_received = Instant::now();
        let mut sequence = 0;
        let shutdown = self.link.shutdown.clone();
        loop {
            tokio::select! {
                message = self.incoming.message() => {
                    last_received = Instant::now();
                    match message {
                        Ok(Some(message)) => if let Err(ended) = self.take(message) {
                            return ended;
                        },
                        Ok(None) => return Ended::lost("the coordinator closed the stream"),
                        Err(status) => return Ended::lost(status.message()),
                    }
                }
                Some(message) = self.messages.recv() => match message {
                    ExecutorMessage::Message(message) => if self.send(message).await.is_err() {
                        return Ended::lost("the stream is closed");
                    },
                    ExecutorMessage::Broken(reason) => return Ended::lost(&reason),
                    ExecutorMessage::DeviceLost(reason) => {
                        self.leave().await;
                        return Ended::DeviceLost { reason };
                    }
                },
                _ = beats.tick() => {
                    sequence += 1;
                    let progress = self.progress.load(Ordering::Relaxed);
                    let beat = session_request::Message::Heartbeat(v1::Heartbeat { sequence, progress });
                    if self.send(beat).await.is_err() {
                        return Ended::lost("the stream is closed");
                    }
                }
                () = tokio::time::sleep_until(last_received + self.detection) => {
                    return Ended::lost(&format!("nothing was received for {:?}", self.detection));
                }
                () = shutdown.cancelled() => return self.leave().await,
            }
        }
    }

    async fn send(&self, message: session_request::Message) -> Result<(), ()> {
        let request =
            v1::SessionRequest { fencing_token: Some((&self.fencing_token).into()), message: Some(message) };
        let sent = tokio::time::timeout(self.detection, self.outgoing.send(request)).await;
        sent.map_err(|_| ())?.map_err(|_| ())
    }

    /// Leaves properly: the coordinator reassigns what this worker has not finished, and closes the stream.
    async fn leave(mut self) -> Ended {
        self.link.executor.abandon();
        if self.send(session_request::Message::Draining(v1::Draining {})).await.is_ok() {
            // Ends the stream on this side, so that the coordinator can close it.
            drop(self.outgoing);
            let closing = async { while let Ok(Some(_)) = self.incoming.message().await {} };
            let _ = tokio::time::timeout(self.detection, closing).await;
        }
        Ended::Shutdown
    }

    fn take(&mut self, response: v1::SessionResponse) -> Result<(), Ended> {
        use session_response::Message;
        let fencing_token = response.fencing_token.map(FencingToken::try_from);
        if fencing_token.and_then(Result::ok).as_ref() != Some(&self.fencing_token) {
            return Err(Ended::lost("received a message for another session"));
        }
        let command = match response.message {
            Some(Message::Heartbeat(_) | Message::Registered(_)) | None => return Ok(()),
            Some(Message::Refused(refused)) => {
                return Err(Ended::refused(&refused));
            }
            Some(Message::Prepare(prepare)) => self.prepare(prepare),
            Some(Message::SendInitialState(send)) => {
                job_id(&send.job_id).map(|job| ExecutorCommand::SendInitialState(self.context.clone(), job))
            }
            Some(Message::Assign(assign)) => self.assign(assign),
            Some(Message::Exchange(exchange)) => {
                return match self.link.listening.as_ref().map(|listening| listening.board.change(exchange)) {
                    Some(Err(error)) => Err(Ended::lost(&error.to_string())),
                    _ => Ok(()),
                };
            }
            Some(Message::Audit(audit)) => {
                let Some(listening) = &self.link.listening else { return Ok(()) };
                let answered = listening.board.answer(audit, self.context.messages.clone(), &self.bulk);
                return answered.map_err(|error| Ended::lost(&error.to_string()));
            }
            Some(Message::Release(release)) => {
                self.generation = None;
                self.link.executor.generation.supersede();
                self.end_exchange();
                job_id(&release.job_id).map(|job| {
                    self.link.executor.wanted.release(&job);
                    ExecutorCommand::Release(job)
                })
            }
        };
        let command = command.map_err(|error| Ended::lost(&error.to_string()))?;
        let sent = self.link.executor.commands.try_send(command);
        sent.map_err(|_| Ended::lost("more commands arrived than the queue holds"))
    }

    fn prepare(&self, prepare: v1::Prepare) -> Result<ExecutorCommand, FieldError> {
        let spec = Box::new(required(prepare.spec, "spec")?);
        let job = job_id(&prepare.job_id)?;
        tracing::info!(%job, name = &*brief(&spec.name, MAX_NAME), "job received");
        let cancellation = self.link.executor.wanted.want(&job);
        Ok(ExecutorCommand::Prepare(self.context.clone(), job, spec, cancellation))
    }

    fn assign(&mut self, assign: v1::Assign) -> Result<ExecutorCommand, FieldError> {
        let kind = match assign.kind() {
            v1::RequestKind::Gradient => RequestKind::Gradient,
            v1::RequestKind::Test => RequestKind::Test(TestSet::Test),
            v1::RequestKind::Validation => RequestKind::Test(TestSet::Validation),
            v1::RequestKind::Clean => RequestKind::Test(TestSet::Clean),
            v1::RequestKind::Memorised => RequestKind::Test(TestSet::Memorised),
            v1::RequestKind::Unspecified => return Err(FieldError { field: "kind" }),
        };
        let id = RequestId::try_from(required(assign.request, "request")?)?;
        let segments = assign.segments.into_iter().map(Segment::try_from).collect::<Result<_, _>>()?;
        let number = match &self.generation {
            Some((request, number)) if *request == id => *number,
            _ => self.link.executor.generation.supersede(),
        };
        let round = self.round(&id, assign.exchange, assign.shards)?;
        let weights_digests = digests_from_bytes(&assign.weights_digests, "weights_digests")?.into();
        self.generation = Some((id.clone(), number));
        let request = Request { kind, epoch: assign.epoch, batch: assign.batch, shards: assign.shards };
        let weights_version = assign.weights_version;
        let assignment =
            Assignment { number, id, request, weights_version, segments, round, weights_digests };
        Ok(ExecutorCommand::Compute(self.context.clone(), assignment))
    }

    /// Takes part in the exchange of a request, if it has one; an earlier one ends.
    fn round(
        &self,
        id: &RequestId,
        exchange: Option<v1::Exchange>,
        shards: u32,
    ) -> Result<Option<Arc<Round>>, FieldError> {
        let Some(listening) = &self.link.listening else { return Ok(None) };
        let Some(exchange) = exchange else {
            listening.board.close();
            return Ok(None);
        };
        let lengths = self.link.executor.lengths(&id.job).ok_or(FieldError { field: "exchange" })?;
        let (transfers, messages) = (self.context.transfers.clone(), self.context.messages.clone());
        let start = RoundStart { exchange, shards, lengths, transfers, messages };
        listening.board.open(start, &listening.peers, &self.bulk)
    }

    /// Nothing is exchanged with other workers any more.
    fn end_exchange(&self) {
        if let Some(listening) = &self.link.listening {
            listening.board.close();
        }
    }
}
