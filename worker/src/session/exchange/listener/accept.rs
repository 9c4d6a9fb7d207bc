//! Accepts connections of other workers, over TCP and within the machine, and encrypts them if there is a certificate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use lookbehind_identity::peers::{Fingerprint, ServerConfig};
use lookbehind_identity::{CheckedStream, Described, Secured, Socket, SocketName, StreamCheck, secured};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Connections at the same time; further ones are closed.
const CONNECTIONS: usize = 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pause after a failed `accept`, for example when no file descriptor is free. It prevents a busy loop.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// A connection of another worker.
type Connection = CheckedStream<Secured, Place>;

/// The sockets on which other workers connect.
pub(super) struct Sockets {
    tcp: TcpListener,
    /// For processes of this machine.
    unix: Option<UnixListener>,
}

impl Sockets {
    /// Listens under `name` as well, where the system has such sockets; then the name is returned.
    pub(super) fn new(tcp: TcpListener, name: Option<SocketName>) -> (Self, Option<SocketName>) {
        let unix = name.and_then(|name| match name.listen() {
            Ok(listener) => Some((listener, name)),
            Err(error) => {
                tracing::debug!(%error, "workers of this machine connect over TCP");
                None
            }
        });
        let (unix, name) = unix.unzip();
        (Self { tcp, unix }, name)
    }

    /// The connections in the order in which they become ready.
    pub(super) fn connections(
        self,
        tls: Option<Arc<ServerConfig>>,
    ) -> impl Stream<Item = io::Result<Connection>> {
        let (ready, connections) = mpsc::channel(CONNECTIONS);
        tokio::spawn(self.accept(tls, ready));
        ReceiverStream::new(connections)
    }

    async fn accept(self, tls: Option<Arc<ServerConfig>>, ready: mpsc::Sender<io::Result<Connection>>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.next() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Ok(socket) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let (tls, ready) = (tls.clone(), ready.clone());
                    tokio::spawn(async move {
                        match open(socket, tls).await {
                            Ok(stream) => {
                                drop(ready.send(Ok(CheckedStream::new(stream, Place(place)))).await);
                            }
                            Err(error) => tracing::debug!(%error, "connection refused"),
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

    async fn next(&self) -> io::Result<Socket> {
        let within = async {
            match &self.unix {
                Some(unix) => unix.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                Ok(Socket::Left(stream))
            }
            accepted = within => accepted.map(|(stream, _)| Socket::Right(stream)),
        }
    }
}

async fn open(socket: Socket, tls: Option<Arc<ServerConfig>>) -> io::Result<Secured> {
    match tls {
        Some(tls) => tokio::time::timeout(HANDSHAKE, secured::accept(socket, tls)).await?,
        None => Ok(Secured::Left(socket)),
    }
}

/// The place of a connection among those that there may be.
pub(super) struct Place(#[expect(dead_code, reason = "given back when it is dropped")] OwnedSemaphorePermit);

impl StreamCheck<Secured> for Place {}

impl Described<Secured> for Place {
    type Info = Caller;

    fn info(&self, stream: &Secured) -> Caller {
        Caller { fingerprint: secured::peer_certificate(stream).map(Fingerprint::of) }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(in crate::session::exchange) struct Caller {
    /// `None` in plain text.
    pub(in crate::session::exchange) fingerprint: Option<Fingerprint>,
}
