//! Uploads partials, and handles failures.

use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request;
use tokio::sync::mpsc;
use tonic::Status;

use super::backoff::Backoff;
use super::command::ExecutorMessage;
use super::transfer::{PartialUpload, Transfers, said};
use crate::telemetry::Failure;

/// Uploads partials one after the other.
pub(super) async fn upload(
    mut uploads: mpsc::Receiver<PartialUpload>,
    transfers: Transfers,
    messages: mpsc::Sender<ExecutorMessage>,
) {
    let mut backoff = Backoff::default();
    while let Some(upload) = uploads.recv().await {
        let (request, segment) = (v1::RequestId::from(&upload.request), upload.segment);
        let Err(status) = transfers.upload(upload).await else {
            backoff = Backoff::default();
            continue;
        };
        if transfers.is_over() {
            return;
        }
        transfers.metrics().failed(Failure::Upload);
        let answer = failed_upload(&status, request, segment);
        if messages.send(ExecutorMessage::Message(answer)).await.is_err() {
            return;
        }
        // The next one would probably fail in the same way.
        if status.code() != tonic::Code::InvalidArgument && !transfers.pause(backoff.next()).await {
            return;
        }
    }
}

/// What the coordinator is told of a failed upload, so that it does not wait for the partial. Either the coordinator has
/// refused the content, or the transfer has failed.
pub(super) fn failed_upload(
    status: &Status,
    request: v1::RequestId,
    segment: Segment,
) -> session_request::Message {
    if status.code() == tonic::Code::InvalidArgument {
        let reason = format!("upload refused: {}", status.message());
        let failed = v1::RequestFailed { request: Some(request), segment: Some(segment.into()), reason };
        return session_request::Message::RequestFailed(failed);
    }
    session_request::Message::TransferFailed(v1::TransferFailed {
        job_id: request.job_id.clone(),
        request: Some(request),
        segments: vec![segment.into()],
        reason: format!("upload: {}", said(status)),
    })
}
