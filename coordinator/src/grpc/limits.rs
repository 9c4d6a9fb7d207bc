//! What one coordinator takes at a time. Beyond a limit callers get RESOURCE_EXHAUSTED; nothing grows.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;
use tonic::{Request, Status};

/// Users' calls over one connection in a second, and at once.
const CALLS: (u32, u32) = (1000, 4000);
/// Control messages of a worker in a second, and at once: it beats, and answers what it is asked.
const MESSAGES: (u32, u32) = (200, 1000);
/// Jobs that are watched at a time.
const WATCHERS: usize = 1000;
/// Model files that are sent at a time.
const DOWNLOADS: usize = 64;
/// Files that are received at a time.
const UPLOADS: usize = 4;
/// Connections beyond the limit that are kept to be told so; more are closed.
const REFUSED_CONNECTIONS: usize = 16;

fn rate((per_second, at_once): (u32, u32)) -> DefaultDirectRateLimiter {
    let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_second(positive(per_second)).allow_burst(positive(at_once)))
}

/// The rate of one worker's messages.
pub(super) fn message_rate() -> DefaultDirectRateLimiter {
    rate(MESSAGES)
}

/// What users share.
#[derive(Clone)]
pub(super) struct UserLimits {
    watchers: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

/// A place that is free again when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

fn place(places: &Arc<Semaphore>, what: &str, limit: usize) -> Result<Place, Status> {
    Arc::clone(places).try_acquire_owned().map_err(|_| exhausted(what, limit))
}

fn exhausted(what: &str, limit: usize) -> Status {
    Status::resource_exhausted(format!("{what}: the limit of {limit} is reached; try again later"))
}

impl UserLimits {
    pub(super) fn new() -> Self {
        Self {
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
        }
    }

    pub(super) fn watcher(&self) -> Result<Place, Status> {
        place(&self.watchers, "watchers", WATCHERS)
    }

    pub(super) fn download(&self) -> Result<Place, Status> {
        place(&self.downloads, "downloads", DOWNLOADS)
    }

    pub(super) fn upload(&self) -> Result<Place, Status> {
        place(&self.uploads, "uploads", UPLOADS)
    }
}

/// How many connections there may be.
pub(super) struct Connections {
    most: usize,
    admitted: Arc<Semaphore>,
    refused: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        let refused = Arc::new(Semaphore::new(REFUSED_CONNECTIONS));
        Self { most, admitted: Arc::new(Semaphore::new(most)), refused }
    }

    /// Takes a connection, so that calls over it can be answered; `None` closes it.
    pub(super) fn take(&self, stream: TcpStream) -> Option<Connection> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned();
        let beyond = if admitted.is_ok() { None } else { Some(self.most) };
        let place = admitted.or_else(|_| Arc::clone(&self.refused).try_acquire_owned()).ok()?;
        let caller = Caller { beyond, calls: Arc::new(rate(CALLS)) };
        Some(Connection { stream, caller, _place: place })
    }
}

/// A connection with its place.
pub(super) struct Connection {
    stream: TcpStream,
    caller: Caller,
    _place: Place,
}

/// Who calls over a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The limit that kept the connection from being admitted; `None` where it is.
    beyond: Option<usize>,
    calls: Arc<DefaultDirectRateLimiter>,
}

/// Refuses calls over connections that are not admitted.
pub(super) fn check_connection(request: Request<()>) -> Result<Request<()>, Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller { beyond: Some(limit), .. }) => Err(exhausted("connections", *limit)),
        _ => Ok(request),
    }
}

/// Refuses users' calls beyond the rate of their connection: who calls too often harms nobody else.
pub(super) fn check_rate(request: Request<()>) -> Result<Request<()>, Status> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.calls.check().is_err() => {
            Err(exhausted("calls per second over one connection", CALLS.0 as usize))
        }
        _ => Ok(request),
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
