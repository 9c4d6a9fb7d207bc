//! Tensors between a worker and the coordinator, on a connection of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lookbehind_common::arena::{Arena, shared_bytes};
use lookbehind_common::contribution::Contribution;
use lookbehind_common::ids::{Fence, JobId, WorkId};
use lookbehind_common::proto::v1;
use lookbehind_common::proto::v1::tensor_service_client::TensorServiceClient;
use lookbehind_common::proto::v1::{
    download_weights_response, upload_initial_state_request, upload_partial_request,
};
use lookbehind_common::reduction::Node;
use lookbehind_common::transfer::{ArenaReceiver, CHUNK_BYTES, MAX_MESSAGE_BYTES, Piece, Sender, sums_bytes};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::WorkerError;

/// HTTP/2 frames that hold a whole chunk.
const FRAME_BYTES: u32 = 2 << 20;
/// Flow-control window: a few chunks in flight.
const WINDOW_BYTES: u32 = 16 << 20;
/// Attempts before a transfer that fails for no reason of its own is given up.
const ATTEMPTS: u32 = 3;

/// How the coordinator is reached.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, WorkerError> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| WorkerError::Address { address: address.to_owned(), reason: error.to_string() })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES))
}

/// A partial on its way up.
pub(super) struct Partial {
    pub(super) work: WorkId,
    pub(super) node: Node,
    pub(super) contribution: Contribution,
    pub(super) compute_seconds: f64,
}

/// Moves tensors for one session.
#[derive(Clone)]
pub(super) struct Transfers {
    client: TensorServiceClient<Channel>,
    fence: Fence,
    idle: Duration,
    progress: Arc<AtomicU64>,
}

impl Transfers {
    /// Over a channel that carries nothing else. `idle` is how long a transfer may stand still; `progress` rises
    /// with every chunk.
    pub(super) fn new(channel: Channel, fence: Fence, idle: Duration, progress: Arc<AtomicU64>) -> Self {
        let client = TensorServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, fence, idle, progress }
    }

    /// Who speaks.
    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Notes that the work in hand has advanced.
    pub(super) fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Fetches one version of a job's weights; `None` if it is served no more.
    pub(super) async fn download(
        &self,
        job: &JobId,
        version: u64,
        lengths: (usize, usize),
    ) -> Result<Option<(Arena, Arena)>, Status> {
        for attempt in 1.. {
            match self.try_download(job, version, lengths).await {
                Ok(weights) => return Ok(Some(weights)),
                Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                    return Ok(None);
                }
                Err(status) if attempt >= ATTEMPTS => return Err(status),
                Err(status) => tracing::debug!(%job, attempt, %status, "download failed; trying again"),
            }
        }
        Ok(None)
    }

    async fn try_download(
        &self,
        job: &JobId,
        version: u64,
        lengths: (usize, usize),
    ) -> Result<(Arena, Arena), Status> {
        use download_weights_response::Part;
        let request = v1::DownloadWeightsRequest {
            fence: Some((&self.fence).into()),
            job_id: job.to_string(),
            version,
        };
        let mut stream = self.client.clone().download_weights(request).await?.into_inner();
        let Some(Part::Header(header)) = self.next(stream.message()).await?.and_then(|m| m.part) else {
            return Err(Status::data_loss("expected the header first"));
        };
        if (header.parameters, header.statistics) != (lengths.0 as u64, lengths.1 as u64) {
            return Err(Status::data_loss("weights of another layout"));
        }
        let mut receiver = ArenaReceiver::new(lengths.0, lengths.1);
        loop {
            let damaged =
                |error: lookbehind_common::transfer::TransferError| Status::data_loss(error.to_string());
            match self.next(stream.message()).await?.and_then(|message| message.part) {
                Some(Part::Chunk(chunk)) => receiver.push(&chunk).map_err(damaged)?,
                Some(Part::Trailer(trailer)) => {
                    let (parameters, statistics, _) = receiver.finish(&trailer, &[]).map_err(damaged)?;
                    return Ok((parameters, statistics));
                }
                _ => return Err(Status::data_loss("expected a chunk or the trailer")),
            }
        }
    }

    /// Waits for the next part, but not for ever.
    async fn next<T>(&self, part: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        self.advance();
        let waited = tokio::time::timeout(self.idle, part).await;
        waited.map_err(|_| Status::deadline_exceeded("the transfer stood still for too long"))?
    }

    /// Sends a partial. A refusal of what it says is an error; that it is no longer wanted is none.
    pub(super) async fn upload(&self, partial: Partial) -> Result<(), Status> {
        let header = v1::PartialHeader {
            fence: Some((&self.fence).into()),
            work: Some((&partial.work).into()),
            node: Some(partial.node.into()),
            gradient: partial.contribution.gradient.len() as u64,
            statistics: partial.contribution.statistics.len() as u64,
            loss_sum: partial.contribution.sums.loss,
            correct: partial.contribution.sums.correct,
            samples: partial.contribution.sums.samples,
            compute_seconds: partial.compute_seconds,
        };
        let covered = sums_bytes(&partial.contribution.sums);
        let Contribution { gradient, statistics, .. } = partial.contribution;
        let parts = [gradient, statistics].map(|arena| shared_bytes(&Arc::new(arena)));
        for attempt in 1.. {
            let sent = self.try_upload(header.clone(), parts.clone(), &covered).await;
            match sent {
                Ok(()) => return Ok(()),
                Err(status) if is_final(&status) || attempt >= ATTEMPTS => return Err(status),
                Err(status) => {
                    tracing::debug!(job = %partial.work.job, attempt, %status, "upload failed; trying again");
                }
            }
        }
        Ok(())
    }

    async fn try_upload(
        &self,
        header: v1::PartialHeader,
        parts: [Bytes; 2],
        covered: &[u8],
    ) -> Result<(), Status> {
        use upload_partial_request::Part;
        let progress = Arc::clone(&self.progress);
        let deadline = self.deadline(&parts);
        let pieces = Sender::new(parts, covered).map(move |piece| {
            progress.fetch_add(1, Ordering::Relaxed);
            match piece {
                Piece::Chunk(chunk) => Part::Chunk(chunk),
                Piece::Trailer(trailer) => Part::Trailer(trailer),
            }
        });
        let parts = std::iter::once(Part::Header(header)).chain(pieces);
        let messages = tokio_stream::iter(parts.map(|part| v1::UploadPartialRequest { part: Some(part) }));
        let mut client = self.client.clone();
        let response = tokio::time::timeout(deadline, client.upload_partial(messages)).await;
        let response =
            response.map_err(|_| Status::deadline_exceeded("the upload stood still for too long"))??;
        let outcome = response.into_inner().outcome();
        tracing::trace!(?outcome, "partial sent");
        Ok(())
    }

    /// How long a whole upload may take: the coordinator notices one that stands still by itself.
    fn deadline(&self, parts: &[Bytes; 2]) -> Duration {
        let chunks = parts.iter().map(|part| part.len().div_ceil(CHUNK_BYTES)).sum::<usize>();
        self.idle * (2 + u32::try_from(chunks).unwrap_or(u32::MAX - 2))
    }

    /// Sends initial parameters and statistics.
    pub(super) async fn upload_initial_state(
        &self,
        job: &JobId,
        parameters: Arena,
        statistics: Arena,
    ) -> Result<(), Status> {
        use upload_initial_state_request::Part;
        let state =
            v1::StateHeader { parameters: parameters.len() as u64, statistics: statistics.len() as u64 };
        let header = v1::InitialStateHeader {
            fence: Some((&self.fence).into()),
            job_id: job.to_string(),
            state: Some(state),
        };
        let parts = [parameters, statistics].map(|arena| shared_bytes(&Arc::new(arena)));
        let pieces = Sender::new(parts, &[]).map(|piece| match piece {
            Piece::Chunk(chunk) => Part::Chunk(chunk),
            Piece::Trailer(trailer) => Part::Trailer(trailer),
        });
        let parts = std::iter::once(Part::Header(header)).chain(pieces);
        let messages =
            tokio_stream::iter(parts.map(|part| v1::UploadInitialStateRequest { part: Some(part) }));
        self.client.clone().upload_initial_state(messages).await?;
        Ok(())
    }
}

/// Whether sending the same again would end the same.
fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented)
}
