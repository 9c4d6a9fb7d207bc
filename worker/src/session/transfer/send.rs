//! Uploads of partials and initial weights.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::JobId;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_proto::transfer::body;
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::transfer::in_process::Handed;
use lookbehind_proto::transfer::{CHUNK_BYTES, Sender, sums_bytes};
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_server::SERVICE_NAME;
use lookbehind_telemetry::metrics::Direction;
use prost::Message;
use tonic::{Code, Status};

use super::{ATTEMPTS, PartialUpload, Transfers, said, stalled};
use crate::session::route::Route;

impl Transfers {
    /// Uploads a partial. It is an error if the content is refused, but not if the partial is no longer wanted.
    pub(in crate::session) async fn upload(&self, upload: PartialUpload) -> Result<(), Status> {
        let header = v1::PartialHeader {
            fencing_token: Some((&self.fencing_token).into()),
            request: Some((&upload.request).into()),
            segment: Some(upload.segment.into()),
            gradient: upload.partial.gradient.len() as u64,
            statistics: upload.partial.statistics.len() as u64,
            loss_sum: upload.partial.sums.loss,
            correct: upload.partial.sums.correct,
            samples: upload.partial.sums.samples,
            compute_seconds: upload.compute_seconds,
            data_seconds: upload.data_seconds,
            visits: upload.partial.sums.visits.map(v1::VisitSums::from),
            gradient_format: v1::ExchangeFormat::from(upload.format).into(),
        };
        let covered = sums_bytes(&upload.partial.sums);
        let Partial { gradient, statistics, .. } = upload.partial;
        let response: v1::UploadPartialResponse =
            self.send("UploadPartial", &header, [gradient, statistics], upload.format, &covered).await?;
        self.delivered.store(true, Ordering::Relaxed);
        tracing::trace!(job = %upload.request.job, outcome = ?response.outcome(), "partial sent");
        Ok(())
    }

    /// Uploads initial weights. If they are no longer wanted, the error is `FailedPrecondition`.
    pub(in crate::session) async fn upload_initial_state(
        &self,
        job: &JobId,
        weights: ModelState<FlatBuffer>,
    ) -> Result<(), Status> {
        let header = v1::InitialStateHeader {
            fencing_token: Some((&self.fencing_token).into()),
            job_id: job.to_string(),
            state: Some(weights.lengths().into()),
        };
        let _: v1::UploadInitialStateResponse =
            self.send("UploadInitialState", &header, weights.into(), ExchangeFormat::F32, &[]).await?;
        Ok(())
    }

    /// Sends a header and two flat buffers, the first one in `format`; tries again if the connection failed, but not if the content was refused.
    async fn send<R: Message + Default>(
        &self,
        method: &str,
        header: &impl Message,
        flat_buffers: [FlatBuffer; 2],
        format: ExchangeFormat,
        covered: &[u8],
    ) -> Result<R, Status> {
        if matches!(self.route, Route::InProcess(_)) {
            return self.until_session_ends(self.hand_over(method, header, flat_buffers)).await;
        }
        let [first, second] = flat_buffers.map(Arc::new);
        let parts = [format.into_bytes(first), ExchangeFormat::F32.into_bytes(second)];
        let mut attempt = 1;
        loop {
            match self.until_session_ends(self.try_send(method, header, parts.clone(), covered)).await {
                Err(status) if !is_final(&status) && !self.over.is_cancelled() && attempt < ATTEMPTS => {
                    tracing::debug!(method, attempt, status = said(&status), "upload failed; trying again");
                }
                ended => return ended,
            }
            attempt += 1;
        }
    }

    async fn try_send<R: Message + Default>(
        &self,
        method: &str,
        header: &impl Message,
        parts: [Bytes; 2],
        covered: &[u8],
    ) -> Result<R, Status> {
        let progress = Arc::clone(&self.progress);
        let deadline = self.deadline(&parts);
        let (begun, bytes) = (Instant::now(), parts.iter().map(Bytes::len).sum());
        let pieces = Sender::new(parts, covered).inspect(move |_| {
            progress.fetch_add(1, Ordering::Relaxed);
        });
        let request = body::call(SERVICE_NAME, method, body::request(Frames::transfer(header, pieces)))?;
        let answered = async { body::message(self.route.call(request).await?.into_body()).await };
        let answered = tokio::time::timeout(deadline, answered).await.map_err(|_| stalled())?;
        answered.inspect(|_| self.metrics.moved(Direction::Sent, bytes, begun))
    }

    /// Hands two flat buffers and a header to the coordinator in this process.
    async fn hand_over<R: Message + Default>(
        &self,
        method: &str,
        header: &impl Message,
        flat_buffers: [FlatBuffer; 2],
    ) -> Result<R, Status> {
        let mut request =
            body::call(SERVICE_NAME, method, body::request(Frames::transfer(header, std::iter::empty())))?;
        request.extensions_mut().insert(Handed::new(flat_buffers));
        let answer = body::message(self.route.call(request).await?.into_body()).await;
        self.advance();
        answer
    }

    /// Longest time of a whole upload: the idle time for each chunk, for the call and for its answer. It only bounds
    /// uploads that would never end; the coordinator itself notices an upload without progress.
    fn deadline(&self, parts: &[Bytes; 2]) -> Duration {
        let chunks = parts.iter().map(|part| part.len().div_ceil(CHUNK_BYTES)).sum::<usize>();
        self.idle.saturating_mul(u32::try_from(chunks + 2).unwrap_or(u32::MAX))
    }
}

/// Whether sending the same content again would fail in the same way.
pub(super) fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented)
}
