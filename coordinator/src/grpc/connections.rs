//! Accepts connections, encrypts them if there are credentials, and closes those that stay unused or have to make room.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use lookbehind_identity::{CheckedStream, Described, Identity, Secured, Socket, StreamCheck, secured};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::callers::{Guard, Peer};
use super::door::{Door, Doors};
use super::gate::Account;
use super::limits::{CALLS, rate};
use crate::observe::{Observer, Refused};

/// Capacity of the queue of connections that are ready to be served.
const READY: usize = 64;
/// Pause after a failed `accept`, for example when no file descriptor is free. It prevents a busy loop.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts connections and prepares them for the server.
pub(super) struct Acceptor {
    listener: TcpListener,
    guard: Guard,
    doors: Doors,
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
        let counted = Arc::clone(&observer);
        let doors = Doors::new(most, move || counted.metrics.refuse(Refused::Connections));
        Self { listener, guard, doors, patience, observer }
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
                    let door = Arc::new(self.doors.open(address.ip().into()));
                    let place = Counted::new(door, Arc::clone(&self.observer));
                    let opening = open(stream, self.guard.clone(), self.patience, place);
                    let (ready, observer) = (ready.clone(), Arc::clone(&self.observer));
                    tokio::spawn(async move {
                        match opening.await {
                            Ok(connection) => drop(ready.send(Ok(connection)).await),
                            Err(error) => {
                                tracing::debug!(%address, %error, "connection refused");
                                if error.kind() != io::ErrorKind::ConnectionAborted {
                                    observer.refuse_handshake(address.ip(), &error.to_string());
                                }
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
}

async fn open(stream: TcpStream, guard: Guard, patience: Duration, place: Counted) -> io::Result<Connection> {
    // Without this, Nagle's algorithm delays small messages until earlier ones have been acknowledged.
    stream.set_nodelay(true)?;
    let config = guard.map(|guard| Arc::clone(&guard.borrow().grpc));
    let stream = match config {
        Some(config) => tokio::select! {
            accepted = tokio::time::timeout(patience, secured::accept(Socket::Left(stream), config)) => accepted??,
            () = place.door.closing().cancelled() => return Err(made_room()),
        },
        None => secured::plain(stream),
    };
    let certificate = secured::peer_certificate(&stream).map(Identity::of_certificate);
    let received = Arc::new(Account::of_connection());
    let door = Arc::clone(&place.door);
    let closing = Box::pin(door.closing().clone().cancelled_owned());
    let peer = Peer { certificate, door, calls: Arc::new(rate(CALLS)), received };
    let unused = Some(Box::pin(tokio::time::sleep(patience)));
    Ok(Connection::new(stream, Use { peer, unused, closing, _place: place }))
}

fn made_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "closed to make room, or because of too many refused calls",
    )
}

/// A connection that occupies a slot until it is dropped.
pub(super) type Connection = CheckedStream<Secured, Use>;

/// What a connection is used for, and whether it may be used any longer.
pub(super) struct Use {
    peer: Peer,
    /// Expires if no call is authorized in time; `None` once a call has been.
    unused: Option<Pin<Box<Sleep>>>,
    /// Ready when the connection has to be closed.
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Counted,
}

/// A connection that the metrics count, and that has a place, until this is dropped.
struct Counted {
    observer: Arc<Observer>,
    door: Arc<Door>,
}

impl Counted {
    fn new(door: Arc<Door>, observer: Arc<Observer>) -> Self {
        observer.metrics.connections.inc();
        Self { observer, door }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.door.close();
        self.observer.metrics.connections.dec();
    }
}

impl StreamCheck<Secured> for Use {
    /// Fails once the connection has to be closed, or has been unused for too long, so that clients that only connect do
    /// not occupy places. Both directions ask, because a connection whose client does not read is only written to.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.closing.as_mut().poll(context).is_ready() {
            return Err(made_room());
        }
        if self.peer.door.is_admitted() {
            self.unused = None;
        }
        let Some(rings) = &mut self.unused else { return Ok(()) };
        match rings.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "no call was accepted in time")),
            Poll::Pending => Ok(()),
        }
    }
}

impl Described<Secured> for Use {
    type Info = Peer;

    fn info(&self, _: &Secured) -> Peer {
        self.peer.clone()
    }
}
