//! Blocks to and from the coordinator, where workers exchange with each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use lookbehind_common::blocks::BlockRange;
use lookbehind_common::ids::{JobId, RequestId};
use lookbehind_common::reduction::Segment;
use lookbehind_proto::transfer::blocks::Block;
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::transfer::{Piece, RunningChecksum, body};
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_server::SERVICE_NAME;
use lookbehind_telemetry::metrics::Direction;
use tonic::Status;
use tonic::body::Body;

use super::{ATTEMPTS, Transfers, said};
use crate::session::exchange::Offer;
use crate::session::transfer::send::is_final;

impl Transfers {
    /// Asks the coordinator for a range of blocks of one version of a job's weights; returns the body of its answer. The
    /// flow-control window in bytes is this worker's share of what the coordinator's link has in flight.
    pub(in crate::session) async fn download_blocks(
        &self,
        job: &JobId,
        version: u64,
        range: BlockRange,
        window: u32,
    ) -> Result<Body, Status> {
        let message = v1::DownloadWeightsRequest {
            fencing_token: Some((&self.fencing_token).into()),
            job_id: job.to_string(),
            version,
            blocks: Some(range.into()),
        };
        let request = body::call(SERVICE_NAME, "DownloadWeights", body::request(Frames::message(&message)))?;
        let route = self.route_with_window(window);
        self.in_time(async { Ok(route.call(request).await?.into_body()) }).await
    }

    /// Uploads a range of blocks of a segment, each when it is there. It is an error if the content is refused, but not
    /// if the blocks are no longer wanted.
    pub(in crate::session) async fn upload_blocks(
        &self,
        request: &RequestId,
        segment: Segment,
        range: BlockRange,
        blocks: Arc<Offer>,
    ) -> Result<(), Status> {
        let header = v1::BlocksHeader {
            fencing_token: Some((&self.fencing_token).into()),
            request: Some(request.into()),
            segment: Some(segment.into()),
            blocks: Some(range.into()),
        };
        // A call without data for long is taken to be broken, so it begins with the first block.
        if blocks.get(range.first).await.is_none() {
            return Ok(());
        }
        let mut attempt = 1;
        loop {
            match self.until_session_ends(self.try_upload_blocks(&header, range, &blocks)).await {
                Err(status) if !is_final(&status) && !self.over.is_cancelled() && attempt < ATTEMPTS => {
                    tracing::debug!(%request, attempt, status = said(&status), "upload of blocks failed; trying again");
                }
                ended => return ended,
            }
            attempt += 1;
        }
    }

    async fn try_upload_blocks(
        &self,
        header: &v1::BlocksHeader,
        range: BlockRange,
        blocks: &Arc<Offer>,
    ) -> Result<(), Status> {
        let begun = Instant::now();
        let (transfers, sent) = (self.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&sent);
        let blocks = Arc::clone(blocks).stream(range).inspect(move |block| {
            transfers.advance();
            let bytes = block.as_ref().map_or(0, |block| block.bytes.len());
            counted.fetch_add(bytes, Ordering::Relaxed);
        });
        let request =
            body::call(SERVICE_NAME, "UploadBlocks", body::streamed_request(header, pieces(blocks)))?;
        let answer: v1::UploadPartialResponse =
            body::message(self.route.call(request).await?.into_body()).await?;
        self.delivered.store(true, Ordering::Relaxed);
        tracing::trace!(%range, outcome = ?answer.outcome(), "blocks sent");
        self.metrics.moved(Direction::Sent, sent.load(Ordering::Relaxed), begun);
        Ok(())
    }
}

/// Blocks as chunks of a transfer, and its checksum.
fn pieces(
    blocks: impl Stream<Item = Result<Block, Status>> + Send,
) -> impl Stream<Item = Result<Piece, Status>> + Send {
    struct Sending<S> {
        blocks: std::pin::Pin<Box<S>>,
        offset: u64,
        checksum: RunningChecksum,
    }
    let sending = Sending { blocks: Box::pin(blocks), offset: 0, checksum: RunningChecksum::default() };
    futures_util::stream::try_unfold(Some(sending), |sending| async move {
        let Some(mut sending) = sending else { return Ok(None) };
        match sending.blocks.next().await {
            Some(block) => {
                let data: Bytes = block?.bytes;
                let offset = sending.offset;
                sending.checksum.cover(offset, &data);
                sending.offset += data.len() as u64;
                Ok(Some((Piece::Chunk(v1::Chunk { offset, data }), Some(sending))))
            }
            None => Ok(Some((Piece::Trailer(sending.checksum.trailer(&[])), None))),
        }
    })
}
