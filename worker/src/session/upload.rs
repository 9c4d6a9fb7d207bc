//! Uploads partials, and handles failures.

use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request;
use tokio::sync::mpsc;
use tonic::Status;

use super::command::ExecutorMessage;
use super::transfer::{PartialUpload, Transfers};
use crate::telemetry::Failure;

/// Uploads partials one after the other.
pub(super) async fn upload(
    mut uploads: mpsc::Receiver<PartialUpload>,
    transfers: Transfers,
    messages: mpsc::Sender<ExecutorMessage>,
) {
    while let Some(upload) = uploads.recv().await {
        let (request, segment) = (v1::RequestId::from(&upload.request), upload.segment);
        let Err(status) = transfers.upload(upload).await else { continue };
        // The session has ended.
        if status.code() == tonic::Code::Cancelled {
            return;
        }
        transfers.metrics().failed(Failure::Upload);
        let answer = refused_upload(&status, request, segment);
        if messages.send(answer).await.is_err() {
            return;
        }
    }
}

/// The consequence of a failed upload. If the content was refused, only the request has failed. If the connection
/// failed, the session ends, so that the coordinator does not wait for the partial.
fn refused_upload(status: &Status, request: v1::RequestId, segment: Segment) -> ExecutorMessage {
    match status.code() {
        tonic::Code::InvalidArgument => {
            let reason = format!("upload refused: {}", status.message());
            let failed = v1::RequestFailed { request: Some(request), segment: Some(segment.into()), reason };
            ExecutorMessage::Message(session_request::Message::RequestFailed(failed))
        }
        _ => ExecutorMessage::Broken(format!("upload: {status}")),
    }
}
