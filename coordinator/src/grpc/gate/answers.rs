//! What answers take: one message counts as memory until its last byte has left, and no answer is kept for a caller who
//! does not read it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use lookbehind_telemetry::http::pieces::Pieces;
use lookbehind_telemetry::http::unread::{Kept, limited};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

use super::budget::Ledger;
use super::methods::Answer;

/// What a call has until its answer has left.
pub(super) struct Held {
    /// What its messages take.
    pub(super) ledger: Arc<Ledger>,
    /// The place of a call whose caller is not known.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Closes the connection.
    pub(super) closing: CancellationToken,
}

impl Held {
    /// Limits an answer. A caller who does not read it is waited for as long as `patience`.
    ///
    /// # Errors
    /// If there is no memory for its message.
    pub(super) async fn limit(
        self,
        kind: Answer,
        response: http::Response<Body>,
        patience: Duration,
    ) -> Result<http::Response<Body>, Status> {
        let Self { ledger, place, closing } = self;
        let (mut head, body) = response.into_parts();
        let kept = (place, head.extensions.remove::<Kept>());
        let body = match kind {
            // A status alone.
            _ if body.is_end_stream() => body,
            Answer::Session => body,
            Answer::Stream => Body::new(limited(Pieces::new(body), kept, patience, closing, unread)),
            Answer::Tensors => Body::new(limited(body, kept, patience, closing, unread)),
            Answer::Message => {
                let whole = match body.collect().await {
                    Ok(whole) => whole,
                    Err(status) => return Ok(status.into_http()),
                };
                let trailers = whole.trailers().cloned();
                let message = whole.to_bytes();
                ledger.take(message.len())?;
                let frames = [Some(Frame::data(message)), trailers.map(Frame::trailers)];
                let whole = StreamBody::new(stream::iter(frames.into_iter().flatten().map(Ok::<_, Status>)));
                Body::new(limited(Pieces::new(whole), (ledger, kept), patience, closing, unread))
            }
        };
        Ok(http::Response::from_parts(head, body))
    }
}

/// The status of an answer that its caller does not read.
fn unread() -> Status {
    Status::deadline_exceeded("the answer was not read for too long")
}
