//! One request: its body is read within the limits, then the router answers it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::connection::Busy;
use super::{Limits, Peer};

/// Answers a request. If the handler panics, the answer is 500. No answer may be taken for another type of content than
/// it says: what clients and workers write could otherwise become a page.
pub(super) async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: Peer,
    limits: Arc<Limits>,
    busy: Busy,
) -> Result<Response<Body>, Infallible> {
    let mut response = match whole(request, &limits).await {
        Ok(mut request) => {
            request.extensions_mut().insert(peer);
            let answered = AssertUnwindSafe(TowerToHyperService::new(router).call(request));
            answered.catch_unwind().await.unwrap_or_else(|_| Ok(broken()))?
        }
        Err(status) => status.into_response(),
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The request counts as active until the last byte of its response has been handed over.
    Ok(response.map(|body| Body::new(UnderWay { body, _busy: busy })))
}

/// The body of a response. Its request counts as active until this is dropped.
struct UnderWay {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for UnderWay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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
