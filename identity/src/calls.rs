//! Calls over a connection to a coordinator, and what is heard there if the other side is none.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::either::Either;
use tonic::body::Body;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{Request, Response};
use tonic::transport::Channel;
use tower_service::Service;

use crate::checked_stream::{CheckedStream, StreamCheck};
use crate::client::Authorize;
use crate::refusal::Mismatch;
use crate::secured::Secured;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection to a coordinator. Each call gets the caller's token, if there is one. Where another protocol is spoken,
/// calls fail with a [`Mismatch`] among their causes.
#[derive(Clone, Debug)]
pub struct Calls {
    channel: Channel,
    authorize: Authorize,
    heard: Heard,
}

impl Calls {
    pub(crate) fn new(channel: Channel, authorize: Authorize, heard: Heard) -> Self {
        Self { channel, authorize, heard }
    }
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let ready = ready!(Service::poll_ready(&mut self.channel, context));
        Poll::Ready(ready.map_err(|error| self.heard.explain(error)))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.authorize.put_on(request.headers_mut());
        let (answer, heard) = (Service::call(&mut self.channel, request), self.heard.clone());
        Box::pin(async move {
            let response = answer.await.map_err(|error| heard.explain(error))?;
            // All answers of gRPC have this content type, also those that refuse a call.
            let content = response.headers().get(CONTENT_TYPE).map(|content| content.as_bytes());
            if content.is_none_or(|content| !content.starts_with(b"application/grpc")) {
                return Err(Mismatch::Http(Some(response.status().as_u16())).into());
            }
            Ok(response)
        })
    }
}

/// Which other protocol the first bytes of the newest connection belong to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<Mismatch>>>);

impl Heard {
    /// Notes the first bytes that the server sends in plain text.
    fn note(&self, first: &[u8]) {
        let mismatch = match first {
            // Records of TLS: alert or handshake, of any version. Frames of HTTP/2 are shorter than these bytes would say.
            [0x15 | 0x16, 3, ..] => Some(Mismatch::Tls),
            [b'H', b'T', b'T', b'P', b'/', ..] => Some(Mismatch::Http(None)),
            _ => None,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = mismatch;
    }

    /// The error of a call, or what explains it.
    fn explain(&self, error: impl Into<BoxError>) -> BoxError {
        let mismatch = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mismatch.map_or_else(|| error.into(), BoxError::from)
    }
}

/// A connection that looks at the first bytes which arrive in plain text.
pub(crate) type Listened = CheckedStream<Secured, Listening>;

/// A connection whose first bytes are noted, if they are in plain text.
pub(crate) fn listened(stream: Secured, heard: Heard) -> Listened {
    let plain = matches!(stream, Either::Left(_));
    CheckedStream::new(stream, Listening { heard: plain.then_some(heard), failed: None })
}

/// Listens for the first bytes on a connection.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where to note them; `None` once that is done.
    heard: Option<Heard>,
    /// Why writing failed, while what has arrived is still to be read.
    failed: Option<io::Error>,
}

impl StreamCheck<Secured> for Listening {
    /// Notes the first bytes, if they are not noted yet. Nothing follows from a connection that is closed without any.
    fn arrived(&mut self, bytes: &[u8]) {
        if let Some(heard) = self.heard.take_if(|_| !bytes.is_empty()) {
            heard.note(bytes);
        }
    }

    /// A server of another kind answers and closes the connection, so that writing may fail before its answer was read:
    /// then that is read first. A connection on which writing fails becomes readable.
    fn write(
        &mut self,
        stream: &mut Secured,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Secured>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let result = match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => write(Pin::new(stream), context),
        };
        let Poll::Ready(Err(error)) = result else { return result };
        if self.heard.is_some() {
            let mut bytes = [0; 16];
            let mut buffer = ReadBuf::new(&mut bytes);
            if Pin::new(stream).poll_read(context, &mut buffer).is_pending() {
                self.failed = Some(error);
                return Poll::Pending;
            }
            self.arrived(buffer.filled());
        }
        Poll::Ready(Err(error))
    }
}

#[cfg(test)]
mod tests;
