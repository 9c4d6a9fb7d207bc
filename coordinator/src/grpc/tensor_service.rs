//! `TensorService`: weights down, partials and initial weights up.

use std::future::Future;
use std::pin::Pin;

use futures_util::Stream;
use lookbehind_common::contribution::{Contribution, Sums};
use lookbehind_common::convert::{FieldError, job_id, required};
use lookbehind_common::ids::{Fence, WorkId};
use lookbehind_common::proto::v1;
use lookbehind_common::proto::v1::tensor_service_server::TensorService;
use lookbehind_common::proto::v1::{
    download_weights_response, upload_initial_state_request, upload_partial_request,
};
use lookbehind_common::reduction::Node;
use lookbehind_common::transfer::{ArenaReceiver, Piece, Sender, sums_bytes};
use tonic::{Request, Response, Status, Streaming};

use super::unexpected;
use super::views::IntoStatus;
use crate::runtime::{Published, Shared};
use crate::state::event::{Admission, Event, PartialHeader, PartialOutcome, Reply};

pub(super) struct TensorServiceImpl(pub(super) Shared);

/// Waits for the next part of a transfer, but not for ever.
pub(super) async fn in_time<T>(
    shared: &Shared,
    next: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let waited = tokio::time::timeout(shared.transfer_idle, next).await;
    waited.map_err(|_| Status::deadline_exceeded("the transfer stood still for too long"))?
}

fn invalid(error: FieldError) -> Status {
    error.into_status()
}

impl TensorServiceImpl {
    async fn admission(
        &self,
        make: impl FnOnce(crate::state::event::Token) -> Event + Send + 'static,
    ) -> Result<Admission, Status> {
        match self.0.mailbox.ask(make).await? {
            Reply::Admission(admission) => Ok(admission),
            _ => Err(unexpected()),
        }
    }
}

#[tonic::async_trait]
impl TensorService for TensorServiceImpl {
    type DownloadWeightsStream =
        Pin<Box<dyn Stream<Item = Result<v1::DownloadWeightsResponse, Status>> + Send>>;

    async fn download_weights(
        &self,
        request: Request<v1::DownloadWeightsRequest>,
    ) -> Result<Response<Self::DownloadWeightsStream>, Status> {
        let request = request.into_inner();
        let fence = Fence::from(required(request.fence, "fence").map_err(invalid)?);
        let job = job_id(&request.job_id).map_err(invalid)?;
        let asked = job.clone();
        match self.admission(move |token| Event::WeightsAsked(token, fence, asked)).await? {
            Admission::Granted => {}
            Admission::Stale(reason) | Admission::Refused(reason) => {
                return Err(Status::failed_precondition(reason));
            }
        }
        let published = self.0.weights.get(&job, request.version).ok_or_else(|| {
            Status::not_found(format!("job {job}: weights version {} is not served", request.version))
        })?;
        Ok(Response::new(Box::pin(send_weights(&published))))
    }

    async fn upload_partial(
        &self,
        request: Request<Streaming<v1::UploadPartialRequest>>,
    ) -> Result<Response<v1::UploadPartialResponse>, Status> {
        let mut stream = request.into_inner();
        let Some(upload_partial_request::Part::Header(wire)) = self.partial_part(&mut stream).await? else {
            return Err(Status::invalid_argument("expected the header first"));
        };
        let (header, sums) = partial_header(wire).map_err(invalid)?;
        let offered = header.clone();
        match self.admission(move |token| Event::PartialOffered(token, offered)).await? {
            Admission::Granted => {}
            Admission::Stale(reason) => return Ok(stale(&header, &reason)),
            Admission::Refused(reason) => return Err(Status::invalid_argument(reason)),
        }
        // The admission has compared both lengths with the layout.
        let mut receiver = ArenaReceiver::new(header.gradient as usize, header.statistics as usize);
        let trailer = loop {
            match self.partial_part(&mut stream).await? {
                Some(upload_partial_request::Part::Chunk(chunk)) => {
                    receiver.push(&chunk).map_err(IntoStatus::into_status)?;
                }
                Some(upload_partial_request::Part::Trailer(trailer)) => break trailer,
                _ => return Err(Status::invalid_argument("expected a chunk or the trailer")),
            }
        };
        let finished = receiver.finish(&trailer, &sums_bytes(&sums));
        let (gradient, statistics, checksum) = finished.map_err(IntoStatus::into_status)?;
        let contribution = Contribution { gradient, statistics, sums };
        let arrived = header.clone();
        let make = move |token| Event::PartialArrived(token, arrived, contribution, checksum);
        let Reply::Partial(outcome) = self.0.mailbox.ask(make).await? else { return Err(unexpected()) };
        let outcome = match outcome {
            PartialOutcome::Accepted => v1::UploadOutcome::Accepted,
            PartialOutcome::Duplicate => v1::UploadOutcome::Duplicate,
            PartialOutcome::Stale(reason) => return Ok(stale(&header, &reason)),
            PartialOutcome::Conflict(reason) => return Err(Status::failed_precondition(reason)),
        };
        Ok(Response::new(v1::UploadPartialResponse { outcome: outcome.into() }))
    }

    async fn upload_initial_state(
        &self,
        request: Request<Streaming<v1::UploadInitialStateRequest>>,
    ) -> Result<Response<v1::UploadInitialStateResponse>, Status> {
        use upload_initial_state_request::Part;
        let mut stream = request.into_inner();
        let Some(Part::Header(header)) = self.state_part(&mut stream).await? else {
            return Err(Status::invalid_argument("expected the header first"));
        };
        let fence = Fence::from(required(header.fence, "fence").map_err(invalid)?);
        let job = job_id(&header.job_id).map_err(invalid)?;
        let lengths = required(header.state, "state").map_err(invalid)?;
        let (from, of) = (fence.clone(), job.clone());
        let offered =
            move |token| Event::InitialStateOffered(token, from, of, lengths.parameters, lengths.statistics);
        granted(self.admission(offered).await?)?;
        let mut receiver = ArenaReceiver::new(lengths.parameters as usize, lengths.statistics as usize);
        let trailer = loop {
            match self.state_part(&mut stream).await? {
                Some(Part::Chunk(chunk)) => receiver.push(&chunk).map_err(IntoStatus::into_status)?,
                Some(Part::Trailer(trailer)) => break trailer,
                _ => return Err(Status::invalid_argument("expected a chunk or the trailer")),
            }
        };
        let (parameters, statistics, _) = receiver.finish(&trailer, &[]).map_err(IntoStatus::into_status)?;
        check_finite(&parameters)?;
        let arrived = move |token| Event::InitialStateArrived(token, fence, job, (parameters, statistics));
        granted(self.admission(arrived).await?)?;
        Ok(Response::new(v1::UploadInitialStateResponse {}))
    }
}

impl TensorServiceImpl {
    async fn partial_part(
        &self,
        stream: &mut Streaming<v1::UploadPartialRequest>,
    ) -> Result<Option<upload_partial_request::Part>, Status> {
        Ok(in_time(&self.0, stream.message()).await?.and_then(|message| message.part))
    }

    async fn state_part(
        &self,
        stream: &mut Streaming<v1::UploadInitialStateRequest>,
    ) -> Result<Option<upload_initial_state_request::Part>, Status> {
        Ok(in_time(&self.0, stream.message()).await?.and_then(|message| message.part))
    }
}

fn granted(admission: Admission) -> Result<(), Status> {
    match admission {
        Admission::Granted => Ok(()),
        Admission::Stale(reason) => Err(Status::failed_precondition(reason)),
        Admission::Refused(reason) => Err(Status::invalid_argument(reason)),
    }
}

fn stale(header: &PartialHeader, reason: &str) -> Response<v1::UploadPartialResponse> {
    tracing::debug!(job = %header.work.job, shard = %header.node, reason, "partial not wanted");
    Response::new(v1::UploadPartialResponse { outcome: v1::UploadOutcome::Stale.into() })
}

fn check_finite(parameters: &[f32]) -> Result<(), Status> {
    match parameters.iter().position(|number| !number.is_finite()) {
        Some(index) => {
            Err(Status::invalid_argument(format!("initial weights: number {index} is not finite")))
        }
        None => Ok(()),
    }
}

fn partial_header(header: v1::PartialHeader) -> Result<(PartialHeader, Sums), FieldError> {
    let sums = Sums { loss: header.loss_sum, correct: header.correct, samples: header.samples };
    let header = PartialHeader {
        fence: required(header.fence, "fence")?.into(),
        work: WorkId::try_from(required(header.work, "work")?)?,
        node: Node::try_from(required(header.node, "node")?)?,
        gradient: header.gradient,
        statistics: header.statistics,
        samples: header.samples,
        compute_seconds: header.compute_seconds,
    };
    Ok((header, sums))
}

fn send_weights(
    published: &Published,
) -> impl Stream<Item = Result<v1::DownloadWeightsResponse, Status>> + use<> {
    use download_weights_response::Part;
    let header = v1::StateHeader {
        parameters: published.weights.parameters.len() as u64,
        statistics: published.weights.statistics.len() as u64,
    };
    let pieces = Sender::new(published.parts(), &[]).map(|piece| match piece {
        Piece::Chunk(chunk) => Part::Chunk(chunk),
        Piece::Trailer(trailer) => Part::Trailer(trailer),
    });
    let parts = std::iter::once(Part::Header(header)).chain(pieces);
    tokio_stream::iter(parts.map(|part| Ok(v1::DownloadWeightsResponse { part: Some(part) })))
}
