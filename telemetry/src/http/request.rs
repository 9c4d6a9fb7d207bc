//! One request: its body is read within the limits, then the router answers it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::connection::Busy;
use super::seat::Seat;
use super::unread::limited;
use super::{Limits, Peer};

/// Answers a request. If the handler panics, the answer is 500. No answer may be taken for another type of content than
/// it says: what clients and workers write could otherwise become a page.
pub(super) async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: Peer,
    limits: Arc<Limits>,
    seat: Arc<Seat>,
    busy: Busy,
) -> Result<Response<Body>, Infallible> {
    let (mut response, seated) = match whole(request, &limits).await {
        // Only now, so that those who send slowly can be closed for others.
        Ok(mut request) => match seat.sit() {
            Some(seated) => {
                request.extensions_mut().insert(peer);
                let answered = AssertUnwindSafe(TowerToHyperService::new(router).call(request));
                (answered.catch_unwind().await.unwrap_or_else(|_| Ok(broken()))?, Some(seated))
            }
            None => (full(), None),
        },
        Err(status) => (status.into_response(), None),
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The request counts as active until the last byte of its response has been handed over, or it is not read.
    Ok(response.map(|body| {
        let pieces = Pieces { body, rest: Bytes::new() };
        let unread = || axum::Error::new("the answer was not read for too long");
        Body::new(limited(pieces, (busy, seated), limits.stalled, unread))
    }))
}

/// A body that is sent in small parts: of a large one the connection would hold all that its client does not read.
struct Pieces {
    body: Body,
    /// Of the part that is being sent.
    rest: Bytes,
}

/// Largest part of an answer that is given to the connection at once.
const PIECE: usize = 16 * 1024;

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        // The upper bound first, since it may not be below the lower one.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

fn full() -> Response<Body> {
    let closed = [(CONNECTION, HeaderValue::from_static("close"))];
    (StatusCode::SERVICE_UNAVAILABLE, closed, "too many connections; try again later\n").into_response()
}

fn broken() -> Response<Body> {
    (StatusCode::INTERNAL_SERVER_ERROR, "the server made a mistake\n").into_response()
}

/// Reads the whole body of a request.
async fn whole(request: Request<Incoming>, limits: &Limits) -> Result<Request<Body>, StatusCode> {
    let (head, body) = request.into_parts();
    let bytes = match tokio::time::timeout(limits.body, Limited::new(body, limits.body_bytes).collect()).await
    {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => return Err(StatusCode::BAD_REQUEST),
        Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
    };
    Ok(Request::from_parts(head, content(bytes)))
}

fn content(bytes: Bytes) -> Body {
    if bytes.is_empty() { Body::empty() } else { Body::from(bytes) }
}
