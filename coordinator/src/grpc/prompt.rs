//! A deadline for the arrival of requests. Without it, a client that sends one byte at a time would hold a call open
//! indefinitely.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

/// A service whose requests must arrive completely within a time limit. Streaming methods are exempt, because they
/// limit each message themselves.
#[derive(Clone, Debug)]
pub(super) struct Prompt<S> {
    service: S,
    within: Duration,
    /// Names of the streaming methods.
    streams: &'static [&'static str],
}

impl<S> Prompt<S> {
    pub(super) fn new(service: S, within: Duration, streams: &'static [&'static str]) -> Self {
        Self { service, within, streams }
    }
}

impl<S: NamedService> NamedService for Prompt<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Prompt<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let path = request.uri().path();
        let method = path.rsplit_once('/').map_or(path, |(_, method)| method);
        if self.streams.contains(&method) {
            return self.service.call(request);
        }
        let deadline = Box::pin(tokio::time::sleep(self.within));
        self.service.call(request.map(|body| Body::new(Arriving { body, deadline })))
    }
}

/// A request body that fails at a deadline.
struct Arriving {
    body: Body,
    deadline: Pin<Box<Sleep>>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        self.deadline
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(Status::deadline_exceeded("the request did not arrive in time"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
