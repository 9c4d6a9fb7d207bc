//! `TensorService`: workers download weights (in [`super::download`]), and upload partials and initial weights.
//!
//! The service does not use the codec of the gRPC library, so that tensors are copied once instead of three times. The
//! wire format is the same.

use std::convert::Infallible;
use std::sync::Weak;
use std::task::{Context, Poll};

use futures_util::future::Either;
use lookbehind_common::blocks::BlockRange;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::RequestId;
use lookbehind_common::layout::TensorKind;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::{Partial, Sums, VisitSums};
use lookbehind_common::reduction::Segment;
use lookbehind_proto::convert::{FieldError, job_id, required};
use lookbehind_proto::transfer::body::{self, Incoming};
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::transfer::in_process::{Handed, InProcess, ShareWeights, checksum};
use lookbehind_proto::transfer::parser::Event as Part;
use lookbehind_proto::transfer::{CHUNK_BYTES, Checksum, FlatBufferReceiver, sums_bytes};
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_server::SERVICE_NAME;
use lookbehind_proto::wire::gradient_format;
use lookbehind_telemetry::metrics::Direction;
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;

use super::call_origin::CallOrigin;
use super::gate::Ledger;
use super::unexpected;
use super::views::IntoStatus;
use crate::runtime::{Ended, Shared};
use crate::state::event::{Admission, BlocksHeader, Busy, Event, PartialHeader, PartialOutcome, Reply};

/// Elements per chunk.
const CHUNK_ELEMENTS: u64 = (CHUNK_BYTES / size_of::<f32>()) as u64;

#[derive(Clone)]
pub(super) struct TensorServer(pub(super) Shared);

impl NamedService for TensorServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for TensorServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move { Ok(server.answer(request).await) })
    }
}

pub(super) fn invalid(error: FieldError) -> Status {
    error.into_status()
}

/// The same service for workers in this process, without a network.
pub(crate) fn in_process(shared: Weak<Shared>) -> InProcess {
    InProcess::new(move |request| {
        let shared = shared.upgrade();
        async move {
            match shared {
                Some(shared) => TensorServer(shared.as_ref().clone()).answer(request).await,
                None => Status::from(Ended).into_http(),
            }
        }
    })
}

impl TensorServer {
    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let (mut head, body) = request.into_parts();
        let handed = head.extensions.remove::<Handed>();
        let caller = CallOrigin::of(&mut head.extensions);
        let answered =
            match head.uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME)) {
                Some("/DownloadWeights") => {
                    self.download_weights(body, caller, head.extensions.get::<ShareWeights>().is_some()).await
                }
                Some("/UploadPartial") => {
                    self.upload_partial(body, caller, handed).await.map(http::Response::new)
                }
                Some("/UploadBlocks") => self.upload_blocks(body, caller).await.map(http::Response::new),
                Some("/UploadInitialState") => {
                    self.upload_initial_state(body, caller, handed).await.map(http::Response::new)
                }
                _ => Err(Status::unimplemented(format!("{SERVICE_NAME} has no method {}", head.uri.path()))),
            };
        match answered {
            Ok(mut response) => {
                response.headers_mut().insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
                response
            }
            Err(status) => status.into_http(),
        }
    }

    pub(super) async fn admission(
        &self,
        make: impl FnOnce(crate::state::event::ReplyTo) -> Event + Send + 'static,
    ) -> Result<Admission, Status> {
        match self.0.mailbox.ask(make).await? {
            Reply::Admission(admission) => Ok(admission),
            _ => Err(unexpected()),
        }
    }

    async fn upload_partial(
        &self,
        request: Body,
        caller: CallOrigin,
        handed: Option<Handed>,
    ) -> Result<Body, Status> {
        let mut incoming = Incoming::new(request);
        let (header, sums) = partial_header(self.header(&mut incoming).await?, &caller)?;
        let (gradient, statistics, format) = (header.gradient, header.statistics, header.format);
        let offered = header.clone();
        let admission = self.admission(move |reply_to| Event::PartialOffered(reply_to, offered));
        let receive = async {
            let covered = sums_bytes(&sums);
            if let Some(handed) = handed {
                return taken(&handed, [gradient, statistics], format, &covered);
            }
            let flat_buffers = self.0.weights.flat_buffers(&header.request.job);
            let flat_buffers = [gradient, statistics].map(|length| flat_buffers.lend(length as usize));
            self.receive(&mut incoming, flat_buffers, format, &covered).await
        };
        // A partial of at most one chunk is read while the state machine decides on admission, because that decision
        // takes longer than the transfer. A larger one is read only after admission, as is any for which callers who
        // are not admitted yet have no memory left.
        let elements = gradient.saturating_add(statistics);
        let is_short = elements <= CHUNK_ELEMENTS;
        let has_memory = |ledger: &Ledger| ledger.take(elements as usize * size_of::<f32>()).is_ok();
        let (admission, received) = if is_short && caller.ledger.as_deref().is_none_or(has_memory) {
            let (admission, received) = tokio::join!(admission, receive);
            (admission?, Either::Left(std::future::ready(received)))
        } else {
            (admission.await?, Either::Right(receive))
        };
        match admission {
            Admission::Granted => {}
            Admission::Stale(reason) => return Ok(stale(&header.request, header.segment, &reason)),
            Admission::Refused(reason) => return Err(Status::invalid_argument(reason)),
        }
        let ([gradient, statistics], checksum) = received.await?;
        let partial = Partial { gradient, statistics, sums };
        let arrived = header.clone();
        let is_finite = is_finite(&partial);
        let make = move |reply_to| {
            let header = arrived;
            Event::PartialArrived { reply_to, header, partial, checksum, is_finite }
        };
        let Reply::Partial(outcome) = self.0.mailbox.ask(make).await? else { return Err(unexpected()) };
        answer(outcome, &header.request, header.segment)
    }

    async fn upload_blocks(&self, request: Body, caller: CallOrigin) -> Result<Body, Status> {
        let mut incoming = Incoming::new(request);
        let header: v1::BlocksHeader = self.header(&mut incoming).await?;
        let header = BlocksHeader {
            origin: caller.origin(header.fencing_token)?,
            request: required(header.request, "request").and_then(RequestId::try_from).map_err(invalid)?,
            segment: required(header.segment, "segment").and_then(Segment::try_from).map_err(invalid)?,
            blocks: required(header.blocks, "blocks").and_then(BlockRange::try_from).map_err(invalid)?,
        };
        let offered = header.clone();
        let make = move |reply_to| Event::BlocksOffered(reply_to, offered);
        let Reply::BlocksAdmission(admission) = self.0.mailbox.ask(make).await? else {
            return Err(unexpected());
        };
        let blocks = match admission {
            Ok(blocks) => blocks,
            Err(Admission::Refused(reason)) => return Err(Status::invalid_argument(reason)),
            Err(Admission::Stale(reason)) => return Ok(stale(&header.request, header.segment, &reason)),
            Err(Admission::Granted) => return Err(unexpected()),
        };
        let pool = self.0.weights.flat_buffers(&header.request.job);
        let flat_buffers = blocks.flat_lengths().map(|length| pool.lend(length));
        let format = blocks.format(TensorKind::Parameter);
        let (flat_buffers, _) = self.receive(&mut incoming, flat_buffers.into(), format, &[]).await?;
        let part = ModelState::from(flat_buffers);
        let (request, segment) = (header.request.clone(), header.segment);
        let (part, digests, is_finite) = tokio::task::spawn_blocking(move || {
            let digests = blocks.digests(part.values());
            let is_finite = all_finite(&part.parameters) && all_finite(&part.statistics);
            (part, digests, is_finite)
        })
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
        let make = move |reply_to| Event::BlocksArrived { reply_to, header, part, digests, is_finite };
        let Reply::Partial(outcome) = self.0.mailbox.ask(make).await? else { return Err(unexpected()) };
        answer(outcome, &request, segment)
    }

    async fn upload_initial_state(
        &self,
        request: Body,
        caller: CallOrigin,
        handed: Option<Handed>,
    ) -> Result<Body, Status> {
        let mut incoming = Incoming::new(request);
        let header: v1::InitialStateHeader = self.header(&mut incoming).await?;
        let origin = caller.origin(header.fencing_token)?;
        let job = job_id(&header.job_id).map_err(invalid)?;
        let lengths = ModelState::from(required(header.state, "state").map_err(invalid)?);
        let from = origin.clone();
        let of = job.clone();
        let offered = move |reply_to| Event::InitialStateOffered { reply_to, origin: from, job: of, lengths };
        granted(self.admission(offered).await?)?;
        let (flat_buffers, _) = match handed {
            Some(handed) => taken(&handed, lengths.into(), ExchangeFormat::F32, &[])?,
            None => {
                let flat_buffers = lengths.map(|length| FlatBuffer::zeros(length as usize));
                self.receive(&mut incoming, flat_buffers.into(), ExchangeFormat::F32, &[]).await?
            }
        };
        let weights = ModelState::from(flat_buffers);
        check_finite(&weights.parameters)?;
        let arrived = move |reply_to| Event::InitialStateArrived { reply_to, origin, job, weights };
        granted(self.admission(arrived).await?)?;
        Ok(body::response(Frames::message(&v1::UploadInitialStateResponse {})))
    }

    /// The next part of a transfer; `None` at its end.
    async fn part(&self, incoming: &mut Incoming) -> Result<Option<Part>, Status> {
        incoming.next().await.map_err(IntoStatus::into_status)
    }

    /// Reads the header of a transfer, which must come first.
    async fn header<H: Message + Default>(&self, incoming: &mut Incoming) -> Result<H, Status> {
        match self.part(incoming).await? {
            Some(Part::Header(header)) => {
                H::decode(header).map_err(|error| Status::invalid_argument(format!("header: {error}")))
            }
            _ => Err(Status::invalid_argument("expected the header first")),
        }
    }

    /// Receives chunks up to the trailer into two flat buffers of the admitted lengths, the first one's elements in
    /// `format`.
    async fn receive(
        &self,
        incoming: &mut Incoming,
        flat_buffers: [FlatBuffer; 2],
        format: ExchangeFormat,
        covered: &[u8],
    ) -> Result<([FlatBuffer; 2], Checksum), Status> {
        let mut receiver = FlatBufferReceiver::into_flat_buffers(flat_buffers, format);
        let bytes = receiver.length();
        loop {
            match self.part(incoming).await? {
                Some(Part::Chunk { offset, length }) => receiver.begin(offset, length),
                Some(Part::Data(data)) => receiver.fill(&data),
                Some(Part::Trailer(trailer)) => {
                    self.0.observer.metrics.transferred(Direction::Received, bytes);
                    return receiver.finish(&trailer, covered).map_err(IntoStatus::into_status);
                }
                _ => return Err(Status::invalid_argument("expected a chunk or the trailer")),
            }
            .map_err(IntoStatus::into_status)?;
        }
    }
}

/// Takes flat buffers that a worker in this process handed over, if their lengths match the header.
fn taken(
    handed: &Handed,
    lengths: [u64; 2],
    format: ExchangeFormat,
    covered: &[u8],
) -> Result<([FlatBuffer; 2], Checksum), Status> {
    let flat_buffers =
        handed.take().ok_or_else(|| Status::data_loss("the flat buffers were taken before"))?;
    let found = [flat_buffers[0].len() as u64, flat_buffers[1].len() as u64];
    if found != lengths {
        return Err(Status::invalid_argument(format!("{found:?} elements, the header says {lengths:?}")));
    }
    let checksum = checksum(&flat_buffers, format, covered);
    Ok((flat_buffers, checksum))
}

fn outcome_body(outcome: v1::UploadOutcome) -> Body {
    body::response(Frames::message(&v1::UploadPartialResponse { outcome: outcome.into() }))
}

fn granted(admission: Admission) -> Result<(), Status> {
    match admission {
        Admission::Granted => Ok(()),
        Admission::Stale(reason) => Err(Status::failed_precondition(reason)),
        Admission::Refused(reason) => Err(Status::invalid_argument(reason)),
    }
}

/// The answer to a partial, or to blocks of one.
fn answer(outcome: PartialOutcome, request: &RequestId, segment: Segment) -> Result<Body, Status> {
    match outcome {
        PartialOutcome::Accepted => Ok(outcome_body(v1::UploadOutcome::Accepted)),
        PartialOutcome::Duplicate => Ok(outcome_body(v1::UploadOutcome::Duplicate)),
        PartialOutcome::Stale(reason) => Ok(stale(request, segment, &reason)),
        PartialOutcome::Refused(reason) => Err(Status::invalid_argument(reason)),
        PartialOutcome::Conflict(reason) => Err(Status::failed_precondition(reason)),
    }
}

fn stale(request: &RequestId, segment: Segment, reason: &str) -> Body {
    tracing::debug!(job = %request.job, shard = %segment, reason, "partial not wanted");
    outcome_body(v1::UploadOutcome::Stale)
}

/// Whether all numbers of a partial are finite.
fn is_finite(partial: &Partial) -> bool {
    let tensors = [&partial.gradient, &partial.statistics];
    partial.sums.not_finite().is_none() && tensors.into_iter().all(|values| all_finite(values))
}

fn all_finite(values: &[f32]) -> bool {
    // Without a branch, so that it takes no longer than reading the values.
    values.iter().fold(true, |all, value| all & value.is_finite())
}

fn check_finite(parameters: &[f32]) -> Result<(), Status> {
    match parameters.iter().position(|number| !number.is_finite()) {
        Some(index) => {
            Err(Status::invalid_argument(format!("initial weights: number {index} is not finite")))
        }
        None => Ok(()),
    }
}

fn partial_header(header: v1::PartialHeader, caller: &CallOrigin) -> Result<(PartialHeader, Sums), Status> {
    let sums = Sums {
        loss: header.loss_sum,
        correct: header.correct,
        samples: header.samples,
        visits: header.visits.map(VisitSums::from),
    };
    let format = gradient_format(&header).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let header = PartialHeader {
        origin: caller.origin(header.fencing_token)?,
        request: required(header.request, "request").and_then(RequestId::try_from).map_err(invalid)?,
        segment: required(header.segment, "segment").and_then(Segment::try_from).map_err(invalid)?,
        gradient: header.gradient,
        statistics: header.statistics,
        format,
        samples: header.samples,
        busy: Busy { compute: header.compute_seconds, data: header.data_seconds },
    };
    Ok((header, sums))
}
