//! Bodies of gRPC calls that carry transfers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http_body::{Body as _, Frame};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http::{self, HeaderMap};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status};

use super::frames::{self, Frames};
use super::parser::{Event, Parser};
use super::{Piece, TransferError};

/// Most bytes of a message that carries no tensors.
const MAX_SMALL_BYTES: usize = 64 << 10;

/// The HTTP request of a call of a service's method.
///
/// # Errors
/// If the names do not form a valid path.
pub fn call(service: &str, method: &str, body: Body) -> Result<http::Request<Body>, Status> {
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    let path = format!("/{service}/{method}");
    *request.uri_mut() = http::Uri::try_from(path).map_err(|error| Status::internal(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(http::header::TE, http::HeaderValue::from_static("trailers"));
    headers.insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    Ok(request)
}

/// The body of a request.
pub fn request<P: Iterator<Item = Piece> + Send + 'static>(frames: Frames<P>) -> Body {
    Body::new(Outgoing { frames, trailers: None })
}

/// The body of a response that ends with the status OK.
pub fn response<P: Iterator<Item = Piece> + Send + 'static>(frames: Frames<P>) -> Body {
    let mut trailers = HeaderMap::new();
    // Without a message, a status always fits into headers.
    let _ = Status::ok("").add_header(&mut trailers);
    Body::new(Outgoing { frames, trailers: Some(trailers) })
}

/// The body of a call that is sent, frame by frame.
struct Outgoing<P> {
    frames: Frames<P>,
    trailers: Option<HeaderMap>,
}

impl<P> Unpin for Outgoing<P> {}

impl<P: Iterator<Item = Piece>> http_body::Body for Outgoing<P> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let data = self.frames.next().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_ended() && self.trailers.is_none()
    }
}

/// The body of a request whose pieces are sent when they are there. An error of `pieces` ends the call.
pub fn streamed_request(
    header: &impl Message,
    pieces: impl Stream<Item = Result<Piece, Status>> + Send + 'static,
) -> Body {
    Body::new(Streamed::new(header, pieces, Ending::Request))
}

/// The body of a response whose pieces are sent when they are there. It ends with the status OK, or with the error of
/// `pieces`.
pub fn streamed_response(
    header: &impl Message,
    pieces: impl Stream<Item = Result<Piece, Status>> + Send + 'static,
) -> Body {
    Body::new(Streamed::new(header, pieces, Ending::Response))
}

/// How a call that is streamed ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By its last piece, or by being broken off.
    Request,
    /// With a status.
    Response,
    /// It has ended.
    Ended,
}

/// The body of a call whose pieces are not all there when it begins.
struct Streamed<S> {
    pieces: Pin<Box<S>>,
    /// The next bytes to be sent.
    ready: VecDeque<Bytes>,
    ending: Ending,
}

impl<S> Streamed<S> {
    fn new(header: &impl Message, pieces: S, ending: Ending) -> Self {
        Self { pieces: Box::pin(pieces), ready: VecDeque::from([frames::header(header)]), ending }
    }

    /// The last frame of a call that ends with `ended`.
    fn end(&mut self, ended: Result<(), Status>) -> Option<Result<Frame<Bytes>, Status>> {
        match (std::mem::replace(&mut self.ending, Ending::Ended), ended) {
            (Ending::Ended, _) | (Ending::Request, Ok(())) => None,
            (Ending::Request, Err(status)) => Some(Err(status)),
            (Ending::Response, ended) => {
                let mut trailers = HeaderMap::new();
                let status = ended.err().unwrap_or_else(|| Status::ok(""));
                Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
            }
        }
    }
}

impl<S: Stream<Item = Result<Piece, Status>>> http_body::Body for Streamed<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(bytes) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.ending == Ending::Ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match std::task::ready!(self.pieces.as_mut().poll_next(context)) {
            Some(Ok(piece)) => {
                let (first, second) = frames::piece(piece);
                self.ready.extend(second);
                Some(Ok(Frame::data(first)))
            }
            Some(Err(status)) => self.end(Err(status)),
            None => self.end(Ok(())),
        })
    }
}

/// Why reading a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The call ended with this status.
    #[error("{}", .0.message())]
    Call(#[from] Status),
    /// The sender violates the rules of transfers.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// A transfer that is received.
pub struct Incoming {
    body: Body,
    parser: Parser,
}

impl Incoming {
    /// Reads the transfer from the body of a request or response.
    pub fn new(body: Body) -> Self {
        Self { body, parser: Parser::default() }
    }

    /// The next event; `None` at the end of the body.
    ///
    /// # Errors
    /// If the call ends with an error or within a message, or a message does not belong to a transfer.
    pub async fn next(&mut self) -> Result<Option<Event>, IncomingError> {
        loop {
            if let Some(event) = self.parser.next_event()? {
                return Ok(Some(event));
            }
            match data(&mut self.body).await? {
                Some(data) => self.parser.feed(data),
                None if self.parser.is_between_messages() => return Ok(None),
                None => return Err(Status::internal("the call ended within a message").into()),
            }
        }
    }
}

/// Reads a body that consists of one small message.
///
/// # Errors
/// If the call ends with an error, or the body is not exactly one message of at most 64 KiB.
pub async fn message<T: Message + Default>(mut body: Body) -> Result<T, Status> {
    let mut bytes = Vec::new();
    while let Some(data) = data(&mut body).await? {
        bytes.extend_from_slice(&data);
        if bytes.len() > MAX_SMALL_BYTES {
            return Err(Status::out_of_range(format!("message of more than {MAX_SMALL_BYTES} bytes")));
        }
    }
    let mut bytes = Bytes::from(bytes);
    let (compressed, length) = match bytes.try_get_u8().and_then(|flag| Ok((flag, bytes.try_get_u32()?))) {
        Ok(prefix) => prefix,
        Err(_) => return Err(Status::internal("the call has no message")),
    };
    if compressed != 0 {
        return Err(Status::unimplemented("compressed messages are not read"));
    }
    if length as usize != bytes.len() {
        return Err(Status::internal("expected one whole message"));
    }
    T::decode(bytes).map_err(|error| Status::internal(error.to_string()))
}

/// The next bytes of a body; `None` at its end. An end with another status than OK is an error.
async fn data(body: &mut Body) -> Result<Option<Bytes>, Status> {
    loop {
        let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await else {
            return Ok(None);
        };
        match frame?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => return Ok(Some(data)),
            Err(frame) => check(frame.trailers_ref())?,
        }
    }
}

/// Checks that the status in the trailers of a call, if any, is OK.
fn check(trailers: Option<&HeaderMap>) -> Result<(), Status> {
    match trailers.and_then(Status::from_header_map) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
