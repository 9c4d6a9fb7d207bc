//! One request: its body is read within the limits, then the router answers it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::connection::Busy;
use super::pieces::Pieces;
use super::seat::Seat;
use super::unread::{Kept, limited};
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
    let closing = seat.close();
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
    let kept = (busy, seated, response.extensions_mut().remove::<Kept>());
    Ok(response.map(|body| {
        let unread = || axum::Error::new("the answer was not read for too long");
        Body::new(limited(Pieces::new(body), kept, limits.stalled, closing, unread))
    }))
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
