//! Downloads of weights.

use std::sync::Arc;
use std::time::Instant;

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::ids::JobId;
use lookbehind_common::model_state::{ModelState, Weights};
use lookbehind_proto::transfer::FlatBufferReceiver;
use lookbehind_proto::transfer::body::{self, Incoming, IncomingError};
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::transfer::in_process::{ShareWeights, SharedWeights};
use lookbehind_proto::transfer::parser::Event as Part;
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_server::SERVICE_NAME;
use lookbehind_telemetry::metrics::Direction;
use prost::Message;
use tonic::{Code, Status};

use super::{ATTEMPTS, Transfers, said, stalled};

impl Transfers {
    /// Fetches one version of a job's weights; `None` if it is no longer served.
    pub(in crate::session) async fn download(
        &self,
        job: &JobId,
        version: u64,
        lengths: ModelState<usize>,
    ) -> Result<Option<Weights>, Status> {
        let mut attempt = 1;
        loop {
            match self.until_session_ends(self.try_download(job, version, lengths)).await {
                Ok(weights) => return Ok(Some(weights)),
                Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                    return Ok(None);
                }
                Err(status) if self.over.is_cancelled() || attempt >= ATTEMPTS => return Err(status),
                Err(status) => {
                    tracing::debug!(%job, attempt, status = said(&status), "download failed; trying again")
                }
            }
            attempt += 1;
        }
    }

    async fn try_download(
        &self,
        job: &JobId,
        version: u64,
        lengths: ModelState<usize>,
    ) -> Result<Weights, Status> {
        let begun = Instant::now();
        let message = v1::DownloadWeightsRequest {
            fencing_token: Some((&self.fencing_token).into()),
            job_id: job.to_string(),
            version,
            blocks: None,
        };
        let mut request =
            body::call(SERVICE_NAME, "DownloadWeights", body::request(Frames::message(&message)))?;
        request.extensions_mut().insert(ShareWeights);
        let answer = tokio::time::timeout(self.idle, self.route.call(request)).await;
        let mut answer = answer.map_err(|_| stalled())??;
        if let Some(SharedWeights(weights)) = answer.extensions_mut().remove() {
            check_lengths(weights.lengths().into(), lengths)?;
            self.advance();
            return Ok(weights);
        }
        let mut incoming = Incoming::new(answer.into_body());
        self.check_header(&mut incoming, lengths).await?;
        let flat_buffers = lengths.map(|length| self.flat_buffers.lend(length));
        let mut receiver = FlatBufferReceiver::into_flat_buffers(flat_buffers.into(), ExchangeFormat::F32);
        loop {
            match self.next(&mut incoming).await? {
                // A sign of life: the download waits for its turn.
                Some(Part::Chunk { length: 0, .. }) => Ok(()),
                Some(Part::Chunk { offset, length }) => receiver.begin(offset, length),
                Some(Part::Data(data)) => receiver.fill(&data),
                Some(Part::Trailer(trailer)) => {
                    let (flat_buffers, _) = receiver.finish(&trailer, &[]).map_err(damaged)?;
                    let bytes = flat_buffers.iter().map(|flat_buffer| flat_buffer.as_bytes().len()).sum();
                    self.metrics.moved(Direction::Received, bytes, begun);
                    return Ok(ModelState::from(flat_buffers).map(Arc::new));
                }
                _ => return Err(Status::data_loss("expected a chunk or the trailer")),
            }
            .map_err(damaged)?;
        }
    }

    /// Compares the header of a download with what is expected.
    async fn check_header(&self, incoming: &mut Incoming, lengths: ModelState<usize>) -> Result<(), Status> {
        let Some(Part::Header(header)) = self.next(incoming).await? else {
            return Err(Status::data_loss("expected the header first"));
        };
        let header = v1::StateHeader::decode(header).map_err(damaged)?;
        check_lengths(header, lengths)
    }

    /// Waits for the next part of a transfer, at most for the idle time.
    async fn next(&self, incoming: &mut Incoming) -> Result<Option<Part>, Status> {
        self.advance();
        let waited = tokio::time::timeout(self.idle, incoming.next()).await;
        let next = waited.map_err(|_| stalled())?;
        next.map_err(|error| match error {
            IncomingError::Call(status) => status,
            IncomingError::Transfer(error) => damaged(error),
        })
    }
}

/// Compares the lengths of received weights with the expected ones.
fn check_lengths(found: v1::StateHeader, expected: ModelState<usize>) -> Result<(), Status> {
    if found == v1::StateHeader::from(expected) {
        return Ok(());
    }
    Err(Status::data_loss("weights of another layout"))
}

/// The received data differs from what was sent.
fn damaged(error: impl std::fmt::Display) -> Status {
    Status::data_loss(error.to_string())
}
