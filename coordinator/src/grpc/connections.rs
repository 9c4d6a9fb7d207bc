//! Accepts connections, encrypts them if there are credentials, and closes those that stay unused or have to make room.
//! Those whose certificate is a worker's are served apart from all others.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lookbehind_identity::{CheckedStream, Described, Identity, Role, Secured, Socket, StreamCheck, secured};
use lookbehind_telemetry::source::Source;
use lookbehind_telemetry::throttle::Throttle;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::callers::{Guard, Peer};
use super::door::{Door, Doors};
use super::gate::Account;
use super::limits::{CALLS, CONNECTIONS, rate};
use crate::observe::{Observer, Refused};

/// Capacity of the queue of connections that are ready to be served.
const READY: usize = 64;
/// Pause after a failed `accept`, for example when no file descriptor is free. It prevents a busy loop.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts connections and prepares them for the servers.
pub(super) struct Acceptor {
    listener: TcpListener,
    doors: Doors,
    opening: Arc<Opening>,
}

/// What opening a connection needs.
struct Opening {
    guard: Guard,
    /// Connections of each source.
    pace: Throttle<Source>,
    /// How long a caller may take for the TLS handshake, and then until its first authorized call.
    patience: Duration,
    /// The threads that wait for the sockets. A connection of a worker must not depend on others.
    sockets: Handle,
    observer: Arc<Observer>,
}

type Ready = io::Result<Connection>;

/// The connections in the order in which they become ready.
pub(super) struct Connections {
    /// Those with a worker's certificate; all of them where there are no credentials.
    pub(super) workers: ReceiverStream<Ready>,
    /// All others.
    pub(super) others: ReceiverStream<Ready>,
}

/// The other end of [`Connections`].
#[derive(Clone)]
struct Queues {
    workers: mpsc::Sender<Ready>,
    others: mpsc::Sender<Ready>,
}

impl Acceptor {
    /// A connection waits for at most `longest_wait` if too many come from where it comes from. To be called in the
    /// runtime that serves workers.
    pub(super) fn new(
        listener: TcpListener,
        guard: Guard,
        most: usize,
        (patience, longest_wait): (Duration, Duration),
        observer: Arc<Observer>,
    ) -> Self {
        let counted = Arc::clone(&observer);
        let doors = Doors::new(most, move || counted.metrics.refuse(Refused::Connections));
        let pace = Throttle::new(CONNECTIONS.throttle(), longest_wait);
        let opening = Opening { guard, pace, patience, sockets: Handle::current(), observer };
        Self { listener, doors, opening: Arc::new(opening) }
    }

    /// Accepts connections on the threads of `strangers`, since nobody is known yet. A slow handshake does not delay other
    /// connections, because each has its own task.
    pub(super) fn connections(self, strangers: &Handle) -> Connections {
        let (workers, of_workers) = mpsc::channel(READY);
        let (others, of_others) = mpsc::channel(READY);
        strangers.spawn(self.accept(Queues { workers, others }));
        let [workers, others] = [of_workers, of_others].map(ReceiverStream::new);
        Connections { workers, others }
    }

    async fn accept(self, queues: Queues) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = queues.workers.closed() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    let door = Arc::new(self.doors.open(address.ip().into()));
                    let own = stream.local_addr();
                    let is_on_this_host = own.is_ok_and(|own| own.ip() == address.ip());
                    let place = Counted::new(door, is_on_this_host, Arc::clone(&self.opening.observer));
                    let (opening, queues) = (Arc::clone(&self.opening), queues.clone());
                    tokio::spawn(async move {
                        match opening.open(stream, place).await {
                            Ok(connection) => queues.put(connection).await,
                            Err(error) => opening.note_failure(address, &error),
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

impl Queues {
    async fn put(&self, connection: Connection) {
        let queue = if connection.asked().is_of_worker { &self.workers } else { &self.others };
        // An error means that the server has ended.
        let _ = queue.send(Ok(connection)).await;
    }
}

impl Opening {
    async fn open(&self, stream: TcpStream, place: Counted) -> io::Result<Connection> {
        let source = place.door.source();
        tokio::select! {
            passed = self.pace.pass(&source, 1) => passed.map_err(|refused| {
                self.observer.metrics.refuse(Refused::Rate);
                io::Error::new(io::ErrorKind::ConnectionAborted, refused)
            })?,
            () = place.door.closing().cancelled() => return Err(made_room()),
        }
        let stream = self.settle(stream)?;
        let config = self.guard.as_ref().map(|guard| Arc::clone(&guard.borrow().grpc));
        let stream = match config {
            Some(config) => tokio::select! {
                accepted = tokio::time::timeout(self.patience, secured::accept(Socket::Left(stream), config)) => accepted??,
                () = place.door.closing().cancelled() => return Err(made_room()),
            },
            None => secured::plain(stream),
        };
        Ok(self.connection(stream, place))
    }

    /// Has the threads that serve workers wait for a socket.
    fn settle(&self, stream: TcpStream) -> io::Result<TcpStream> {
        let _context = self.sockets.enter();
        let stream = TcpStream::from_std(stream.into_std()?)?;
        // Without this, Nagle's algorithm delays small messages until earlier ones have been acknowledged.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn connection(&self, stream: Secured, place: Counted) -> Connection {
        // For the timer.
        let _context = self.sockets.enter();
        let certificate = secured::peer_certificate(&stream).map(Identity::of_certificate);
        let is_of_worker = match (&self.guard, &certificate) {
            (None, _) => true,
            (Some(_), Some(Ok(identity))) => identity.role == Role::Worker,
            (Some(_), Some(Err(_)) | None) => false,
        };
        let received = Arc::new(Account::of_connection());
        let (door, is_on_this_host) = (Arc::clone(&place.door), place.is_on_this_host);
        let closing = Box::pin(door.closing().clone().cancelled_owned());
        let calls = Arc::new(rate(CALLS));
        let peer = Peer { certificate, door, calls, is_on_this_host, received };
        let unused = Some(Box::pin(tokio::time::sleep(self.patience)));
        Connection::new(stream, Use { peer, is_of_worker, unused, closing, _place: place })
    }

    fn note_failure(&self, address: SocketAddr, error: &io::Error) {
        tracing::debug!(%address, %error, "connection refused");
        if error.kind() != io::ErrorKind::ConnectionAborted {
            self.observer.refuse_handshake(address.ip(), &error.to_string());
        }
    }
}

fn made_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "closed to make room, or because of too many refused calls or an answer that was not read",
    )
}

/// A connection that occupies a slot until it is dropped.
pub(super) type Connection = CheckedStream<Secured, Use>;

/// What a connection is used for, and whether it may be used any longer.
pub(super) struct Use {
    peer: Peer,
    is_of_worker: bool,
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
    /// Whether it comes from the host that it came to.
    is_on_this_host: bool,
}

impl Counted {
    fn new(door: Arc<Door>, is_on_this_host: bool, observer: Arc<Observer>) -> Self {
        observer.metrics.connections.inc();
        Self { observer, door, is_on_this_host }
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
