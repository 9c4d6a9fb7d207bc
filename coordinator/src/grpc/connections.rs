//! Accepts connections up to a limit, encrypts them if there are credentials, and closes those that stay unused.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use lookbehind_identity::{Identity, Secured};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::callers::{Guard, Peer};
use super::gate::Account;
use super::limits::{CALLS, Place, rate};
use crate::observe::{Observer, Refused};

/// Connections beyond the limit that are accepted only to report the limit to the caller. Further ones are closed.
const REFUSED: usize = 16;
/// Capacity of the queue of connections that are ready to be served.
const READY: usize = 64;
/// Pause after a failed `accept`, for example when no file descriptor is free. It prevents a busy loop.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts connections and prepares them for the server.
pub(super) struct Acceptor {
    listener: TcpListener,
    guard: Guard,
    most: usize,
    admitted: Arc<Semaphore>,
    refused: Arc<Semaphore>,
    /// How long a caller may take for the TLS handshake, and then until its first authorized call.
    patience: Duration,
    observer: Arc<Observer>,
}

impl Acceptor {
    pub(super) fn new(
        listener: TcpListener,
        guard: Guard,
        most: usize,
        patience: Duration,
        observer: Arc<Observer>,
    ) -> Self {
        let (admitted, refused) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(REFUSED)));
        Self { listener, guard, most, admitted, refused, patience, observer }
    }

    /// The connections in the order in which they become ready. A slow handshake does not delay other connections,
    /// because each has its own task.
    pub(super) fn connections(self) -> impl Stream<Item = io::Result<Connection>> {
        let (ready, connections) = mpsc::channel(READY);
        tokio::spawn(self.accept(ready));
        ReceiverStream::new(connections)
    }

    async fn accept(self, ready: mpsc::Sender<io::Result<Connection>>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    let Some((place, beyond)) = self.place() else {
                        self.observer.metrics.refuse(Refused::Connections);
                        continue;
                    };
                    let place = Counted::new(place, Arc::clone(&self.observer));
                    let opening = open(stream, self.guard.clone(), self.patience, place, beyond);
                    let (ready, observer) = (ready.clone(), Arc::clone(&self.observer));
                    tokio::spawn(async move {
                        match opening.await {
                            Ok(connection) => drop(ready.send(Ok(connection)).await),
                            Err(error) => {
                                observer.metrics.handshakes_failed.inc();
                                tracing::debug!(%address, %error, "connection refused");
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }

    /// Takes a slot for a connection. The second value is the limit if the connection exceeds it. `None` means that
    /// the connection must be closed.
    fn place(&self) -> Option<(Place, Option<usize>)> {
        if let Ok(place) = Arc::clone(&self.admitted).try_acquire_owned() {
            return Some((place, None));
        }
        let place = Arc::clone(&self.refused).try_acquire_owned().ok()?;
        Some((place, Some(self.most)))
    }
}

async fn open(
    stream: TcpStream,
    guard: Guard,
    patience: Duration,
    place: Counted,
    beyond: Option<usize>,
) -> io::Result<Connection> {
    // Without this, Nagle's algorithm delays small messages until earlier ones have been acknowledged.
    stream.set_nodelay(true)?;
    let config = guard.map(|guard| Arc::clone(&guard.borrow().grpc));
    let stream = match config {
        Some(config) => tokio::time::timeout(patience, Secured::accept(stream, config)).await??,
        None => Secured::Plain(stream),
    };
    let certificate = stream.peer_certificate().map(Identity::of_certificate);
    let admitted = Arc::new(AtomicBool::new(false));
    let received = Arc::new(Account::of_connection());
    let peer = Peer { beyond, certificate, admitted, calls: Arc::new(rate(CALLS)), received };
    let unused = Some(Box::pin(tokio::time::sleep(patience)));
    Ok(Connection { stream, peer, unused, _place: place })
}

/// A connection that occupies a slot until it is dropped.
pub(super) struct Connection {
    stream: Secured,
    peer: Peer,
    /// Expires if no call is authorized in time; `None` once a call has been.
    unused: Option<Pin<Box<Sleep>>>,
    _place: Counted,
}

/// A slot that the metrics count until it is dropped.
struct Counted {
    observer: Arc<Observer>,
    _place: Place,
}

impl Counted {
    fn new(place: Place, observer: Arc<Observer>) -> Self {
        observer.metrics.connections.inc();
        Self { observer, _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.observer.metrics.connections.dec();
    }
}

impl Connection {
    /// Fails once the connection has been unused for too long, so that clients that only connect do not occupy slots.
    fn check_use(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.peer.admitted.load(Ordering::Relaxed) {
            self.unused = None;
        }
        let Some(rings) = &mut self.unused else { return Ok(()) };
        match rings.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "no call was accepted in time")),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_use(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
