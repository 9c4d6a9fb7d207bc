//! `WorkerService`: one control stream per worker.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{FencingToken, RequestId, SessionId, SessionSecret};
use lookbehind_common::job::JobDescription;
use lookbehind_common::partial::{Sums, VisitSums};
use lookbehind_common::reduction::Segment;
use lookbehind_common::test_set::TestSet;
use lookbehind_proto::convert::{FieldError, digests_from_bytes, digests_to_bytes, job_id, required};
use lookbehind_proto::v1;
use lookbehind_proto::v1::worker_service_server::WorkerService;
use lookbehind_proto::v1::{session_request, session_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::callers::{Peer, Who};
use super::limits::message_rate;
use super::unexpected;
use crate::runtime::{Mailbox, OUTBOX, Shared};
use crate::state::command::{
    Assignment, AuditQuestion, ExchangePlan, PeerAddress, RequestKind, WorkerCommand,
};
use crate::state::event::{
    Addend, Audited, Busy, Computed, Event, Fault, LossCause, Origin, PeerEndpoint, Refusal, Registration,
    Reply, WorkerMessage,
};
use crate::training::ComputeClass;

/// Longest text from a worker, in characters. The limit exists because the text is stored with the job and shown to
/// users.
const MAX_WORDS: usize = 1000;

pub(super) struct WorkerServiceImpl(pub(super) Shared);

#[tonic::async_trait]
impl WorkerService for WorkerServiceImpl {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let identity: Option<Arc<str>> = request.extensions().get().and_then(Who::name).map(Arc::from);
        let peer = request.extensions().get::<Peer>();
        let beside_coordinator = peer.is_some_and(|peer| peer.is_on_this_host);
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(self.0.failure_detection, incoming.message());
        let first =
            first.await.map_err(|_| Status::deadline_exceeded("no register message was received"))??;
        let Some(session_request::Message::Register(register)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("expected register first"));
        };
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let registration = registration(register, beside_coordinator);
        let secret = SessionSecret::from_entropy(entropy()?);
        let opened_by = identity.clone();
        let register =
            move |reply_to| Event::Register { reply_to, registration, identity: opened_by, secret };
        let reply = self.0.mailbox.register(register, outbox).await?;
        let Reply::Registered(outcome) = reply else { return Err(unexpected()) };
        let fencing_token = match outcome {
            Ok(fencing_token) => fencing_token,
            Err(refusal) => return Ok(Response::new(Box::pin(refused(refusal)))),
        };
        let origin = Origin { fencing_token: fencing_token.clone(), identity };
        tokio::spawn(listen(incoming, origin, self.0.mailbox.clone()));
        let registered = session_response::Message::Registered(v1::Registered {
            failure_detection_ms: self.0.failure_detection.as_millis() as u64,
            heartbeat_interval_ms: self.0.heartbeat_interval.as_millis() as u64,
        });
        let first = tokio_stream::once(registered);
        let messages = first.chain(ReceiverStream::new(messages).map(to_wire));
        let responses = messages.map(move |message| {
            Ok(v1::SessionResponse { fencing_token: Some((&fencing_token).into()), message: Some(message) })
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Random bits for the secret of a session.
fn entropy() -> Result<u128, Status> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| Status::internal(error.to_string()))?;
    Ok(u128::from_ne_bytes(bits))
}

fn registration(register: v1::Register, beside_coordinator: bool) -> Registration {
    let v1::Register { protocol, version, name, device, endpoint } = register;
    let endpoint = endpoint.map(|v1::PeerEndpoint { address, fingerprint, socket }| PeerEndpoint {
        address,
        fingerprint: fingerprint.as_ref().try_into().ok(),
        socket: socket.as_ref().try_into().ok(),
    });
    Registration { protocol, version, name, device, endpoint, beside_coordinator }
}

fn refused(refusal: Refusal) -> impl Stream<Item = Result<v1::SessionResponse, Status>> {
    let Refusal { reason, retryable } = refusal;
    let message = session_response::Message::Refused(v1::Refused { reason, retryable });
    tokio_stream::once(Ok(v1::SessionResponse { fencing_token: None, message: Some(message) }))
}

/// Forwards a worker's messages until its stream ends for any reason, and then reports the worker as lost.
async fn listen(mut incoming: Streaming<v1::SessionRequest>, origin: Origin, mailbox: Mailbox) {
    let rate = message_rate();
    let cause = loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) | Err(_) => break LossCause::StreamClosed,
        };
        if rate.check().is_err() {
            break LossCause::Protocol("it sends more messages than a worker can need".into());
        }
        match from_wire(message) {
            // A stream speaks for the session that was opened on it and for no other, whatever its messages say.
            Ok((fencing_token, _)) if fencing_token != origin.fencing_token => {
                tracing::debug!(session = %origin.session(), "message under another session's token ignored");
            }
            Ok((_, message)) => {
                if mailbox.tell(Event::Worker(origin.clone(), message)).await.is_err() {
                    return;
                }
            }
            Err(status) => break LossCause::Protocol(status.message().to_owned()),
        }
    };
    let _ = mailbox.tell(Event::WorkerLost(origin.session(), cause)).await;
}

fn from_wire(request: v1::SessionRequest) -> Result<(FencingToken, WorkerMessage), Status> {
    use session_request::Message;
    let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
    let field = |error: FieldError| invalid(&error);
    let fencing_token = required(request.fencing_token, "fencing_token").and_then(TryInto::try_into);
    let fencing_token = fencing_token.map_err(field)?;
    let message = match required(request.message, "message").map_err(field)? {
        Message::Register(_) => return Err(Status::invalid_argument("register was received twice")),
        Message::Heartbeat(heartbeat) => WorkerMessage::Heartbeat(heartbeat.progress),
        Message::Draining(_) => WorkerMessage::Draining,
        Message::Prepared(prepared) => {
            let description = required(prepared.description, "description").map_err(field)?;
            let description = JobDescription::try_from(description).map_err(|error| invalid(&error))?;
            let probe = prepared.probe_digest.as_ref().try_into().map(Digest);
            let probe = required(probe.ok(), "probe_digest").map_err(field)?;
            let class = ComputeClass { probe, description: words(&prepared.class_description) };
            let job = job_id(&prepared.job_id).map_err(field)?;
            WorkerMessage::Prepared { job, description: description.into(), class }
        }
        Message::PrepareFailed(failed) => {
            let fault = match failed.failure() {
                v1::PrepareFailure::Job => Fault::Job,
                v1::PrepareFailure::Device => Fault::Device,
                v1::PrepareFailure::Worker | v1::PrepareFailure::Unspecified => Fault::Worker,
            };
            let job = job_id(&failed.job_id).map_err(field)?;
            WorkerMessage::PrepareFailed { job, fault, reason: words(&failed.reason) }
        }
        Message::Computed(computed) => WorkerMessage::Computed(computed_from(computed).map_err(field)?),
        Message::Reduced(reduced) => {
            let addends = reduced.addends.into_iter().map(addend).collect::<Result<_, _>>().map_err(field)?;
            WorkerMessage::Reduced {
                request: required(reduced.request, "request").and_then(RequestId::try_from).map_err(field)?,
                blocks: required(reduced.blocks, "blocks").and_then(BlockRange::try_from).map_err(field)?,
                addends,
            }
        }
        Message::Audited(audited) => WorkerMessage::Audited {
            request: required(audited.request, "request").and_then(RequestId::try_from).map_err(field)?,
            audited: Audited {
                segment: required(audited.segment, "segment").and_then(Segment::try_from).map_err(field)?,
                values: audited.values,
                proof: audited.proof.iter().map(hash).collect::<Result<_, _>>().map_err(field)?,
            },
        },
        Message::Unreachable(unreachable) => {
            let request = required(unreachable.request, "request").and_then(RequestId::try_from);
            WorkerMessage::Unreachable {
                request: request.map_err(field)?,
                other: SessionId(unreachable.session),
                reason: words(&unreachable.reason),
            }
        }
        Message::TransferFailed(failed) => {
            let job = job_id(&failed.job_id).map_err(field)?;
            let request = failed.request.map(RequestId::try_from).transpose().map_err(field)?;
            let segments = failed.segments.into_iter().map(Segment::try_from);
            let segments = segments.collect::<Result<_, _>>().map_err(field)?;
            let request = request.map(|request| (request, segments));
            WorkerMessage::TransferFailed { job, request, reason: words(&failed.reason) }
        }
        Message::RequestFailed(failed) => {
            let request =
                RequestId::try_from(required(failed.request, "request").map_err(field)?).map_err(field)?;
            let segment =
                Segment::try_from(required(failed.segment, "segment").map_err(field)?).map_err(field)?;
            WorkerMessage::RequestFailed { request, segment, reason: words(&failed.reason) }
        }
    };
    Ok((fencing_token, message))
}

fn computed_from(computed: v1::Computed) -> Result<Computed, FieldError> {
    Ok(Computed {
        request: required(computed.request, "request").and_then(RequestId::try_from)?,
        segment: required(computed.segment, "segment").and_then(Segment::try_from)?,
        sums: Sums {
            loss: computed.loss_sum,
            correct: computed.correct,
            samples: computed.samples,
            visits: computed.visits.map(VisitSums::from),
        },
        busy: Busy { compute: computed.compute_seconds, data: computed.data_seconds },
        digests: digests_from_bytes(&computed.digests, "digests")?,
    })
}

fn addend(addend: v1::Addend) -> Result<Addend, FieldError> {
    Ok(Addend {
        segment: required(addend.segment, "segment").and_then(Segment::try_from)?,
        blocks: required(addend.blocks, "blocks").and_then(BlockRange::try_from)?,
        digest: BlockDigest::from_bytes(required(addend.digest.as_ref().try_into().ok(), "digest")?),
    })
}

fn hash(bytes: &bytes::Bytes) -> Result<[u8; 32], FieldError> {
    required(bytes.as_ref().try_into().ok(), "proof")
}

fn words(text: &str) -> String {
    text.chars().take(MAX_WORDS).collect()
}

fn to_wire(message: WorkerCommand) -> session_response::Message {
    use session_response::Message;
    match message {
        WorkerCommand::Refused(reason) => Message::Refused(v1::Refused { reason, retryable: true }),
        WorkerCommand::Heartbeat(sequence) => Message::Heartbeat(v1::Heartbeat { sequence, progress: 0 }),
        WorkerCommand::Prepare(job, spec) => {
            Message::Prepare(v1::Prepare { job_id: job.to_string(), spec: Some((*spec).clone()) })
        }
        WorkerCommand::SendInitialState(job) => {
            Message::SendInitialState(v1::SendInitialState { job_id: job.to_string() })
        }
        WorkerCommand::Assign(assignment) => Message::Assign(assign(&assignment)),
        WorkerCommand::Exchange(plan) => Message::Exchange(exchange(&plan)),
        WorkerCommand::Audit(AuditQuestion { request, segment, of }) => Message::Audit(v1::Audit {
            request: Some((&request).into()),
            segment: Some(segment.into()),
            block: of.block,
            slice: of.slice,
        }),
        WorkerCommand::Release(job) => Message::Release(v1::Release { job_id: job.to_string() }),
    }
}

fn assign(assignment: &Assignment) -> v1::Assign {
    let (kind, epoch, batch) = match assignment.coordinates.kind {
        RequestKind::Gradient { epoch, batch } => (v1::RequestKind::Gradient, epoch, batch),
        RequestKind::Test(set) => (test_kind(set), 0, 0),
    };
    v1::Assign {
        request: Some((&assignment.request).into()),
        kind: kind.into(),
        weights_version: assignment.weights_version,
        epoch,
        batch,
        shards: assignment.coordinates.shards,
        segments: assignment.segments.iter().map(|segment| (*segment).into()).collect(),
        exchange: assignment.exchange.as_deref().map(exchange),
        weights_digests: digests_to_bytes(&assignment.weights_digests),
    }
}

fn test_kind(set: TestSet) -> v1::RequestKind {
    match set {
        TestSet::Test => v1::RequestKind::Test,
        TestSet::Validation => v1::RequestKind::Validation,
        TestSet::Clean => v1::RequestKind::Clean,
        TestSet::Memorised => v1::RequestKind::Memorised,
    }
}

fn exchange(plan: &ExchangePlan) -> v1::Exchange {
    let peer = |peer: &PeerAddress| v1::Peer {
        session: peer.session.0,
        endpoint: Some(v1::PeerEndpoint {
            address: peer.endpoint.address.clone(),
            fingerprint: peer.endpoint.fingerprint.map(|bytes| bytes.to_vec()).unwrap_or_default().into(),
            socket: peer.endpoint.socket.map(|bytes| bytes.to_vec()).unwrap_or_default().into(),
        }),
    };
    let range = |(blocks, owner): &(BlockRange, Option<SessionId>)| v1::OwnedRange {
        blocks: Some((*blocks).into()),
        // Sessions are counted from 1.
        owner: owner.map_or(0, |session| session.0),
    };
    let maker = |(segment, session): &(Segment, SessionId)| v1::Maker {
        segment: Some((*segment).into()),
        session: session.0,
    };
    v1::Exchange {
        request: Some((&plan.request).into()),
        ticket: plan.ticket.to_bytes().to_vec().into(),
        peers: plan.peers.iter().map(peer).collect(),
        ranges: plan.ranges.iter().map(range).collect(),
        makers: plan.makers.iter().map(maker).collect(),
        weights: plan.weights.iter().map(range).collect(),
    }
}
