//! Where this worker takes connections from other workers.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lookbehind_identity::Secured;
use lookbehind_identity::peers::{Fingerprint, PeerCertificate, ServerConfig};
use lookbehind_proto::transfer::{FRAME_BYTES, WINDOW_BYTES};
use lookbehind_proto::v1;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::peers::Peers;
use super::round::Board;
use super::server::PeerServer;
use crate::session::WorkerError;

/// Connections at the same time; further ones are closed.
const CONNECTIONS: usize = 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pause after a failed `accept`, for example when no file descriptor is free. It prevents a busy loop.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// Connections without a sign of life for this long, twice, are closed.
const ALIVE: Duration = Duration::from_secs(10);

/// Where a worker takes connections from other workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PeerListen {
    /// On the interface by which it reaches the coordinator, on a port that the system chooses.
    #[default]
    Auto,
    /// On this address.
    At(SocketAddr),
    /// Nowhere: everything goes through the coordinator.
    Off,
}

impl FromStr for PeerListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            address => {
                let address = address.parse().map(Self::At);
                address.map_err(|error| format!("expected auto, off or an address: {error}"))
            }
        }
    }
}

/// A port on which this worker takes connections from other workers.
#[derive(Debug)]
pub(in crate::session) struct Listening {
    address: String,
    fingerprint: Option<Fingerprint>,
    pub(in crate::session) board: Arc<Board>,
    pub(in crate::session) peers: Peers,
}

impl Listening {
    /// Listens as configured, until the runtime ends. `own` is an address of this machine that others may reach, for the
    /// case that it listens on all of them. With `is_guarded`, connections are encrypted, and only those of
    /// workers that the coordinator has named are taken.
    ///
    /// # Errors
    /// If the address cannot be listened on, or there is no randomness for a certificate.
    pub(in crate::session) async fn start(
        address: SocketAddr,
        own: IpAddr,
        advertise: Option<&str>,
        is_guarded: bool,
    ) -> Result<Self, WorkerError> {
        let failed = |error: io::Error| WorkerError::System(format!("peers {address}: {error}"));
        let certificate = is_guarded.then(PeerCertificate::create).transpose();
        let certificate = certificate.map_err(|error| WorkerError::System(error.to_string()))?.map(Arc::new);
        let board = Arc::new(Board::default());
        let tls = certificate.as_ref().map(|certificate| certificate.server(Arc::clone(&board) as Arc<_>));
        let tls = tls.transpose().map_err(|error| WorkerError::System(error.to_string()))?;
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let reached =
            SocketAddr::new(if bound.ip().is_unspecified() { own } else { bound.ip() }, bound.port());
        let address = advertised(advertise, reached);
        tracing::info!(listens = %bound, advertised = address, encrypted = tls.is_some(), "other workers are served");
        let (ready, connections) = mpsc::channel(CONNECTIONS);
        tokio::spawn(accept(listener, tls, ready));
        let service = PeerServer { board: Arc::clone(&board), is_guarded };
        let server = Server::builder()
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(ALIVE))
            .http2_keepalive_timeout(Some(ALIVE))
            .add_service(service)
            .serve_with_incoming(ReceiverStream::new(connections));
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "other workers are not served any more");
            }
        });
        let fingerprint = certificate.as_ref().map(|certificate| certificate.fingerprint());
        Ok(Self { address, fingerprint, board, peers: Peers::new(certificate) })
    }

    /// What the coordinator tells other workers.
    pub(in crate::session) fn endpoint(&self) -> v1::PeerEndpoint {
        let fingerprint = self.fingerprint.map(|fingerprint| fingerprint.as_bytes().to_vec());
        v1::PeerEndpoint {
            address: self.address.clone(),
            fingerprint: fingerprint.unwrap_or_default().into(),
        }
    }
}

/// The exchange of a session with other workers, which ends when this is dropped.
pub(in crate::session) struct Exchanging(pub(in crate::session) Arc<Listening>);

impl Drop for Exchanging {
    fn drop(&mut self) {
        self.0.board.close();
        self.0.peers.clear();
    }
}

/// The address that other workers are told: what was configured, with the port that was bound if it names none.
fn advertised(configured: Option<&str>, bound: SocketAddr) -> String {
    match configured {
        None => bound.to_string(),
        Some(address) if has_port(address) => address.to_owned(),
        Some(host) => match host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, bound.port()).to_string(),
            Err(_) => format!("{host}:{}", bound.port()),
        },
    }
}

fn has_port(address: &str) -> bool {
    let is_bare_v6 = address.parse::<IpAddr>().is_ok();
    !is_bare_v6 && address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// The address of this machine by which it reaches a host; nothing is sent.
pub(in crate::session) fn towards(host: &str, port: u16) -> io::Result<IpAddr> {
    let unspecified: [SocketAddr; 2] = [([0, 0, 0, 0], 0).into(), ([0_u16; 8], 0).into()];
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for from in unspecified {
        let found = UdpSocket::bind(from)
            .and_then(|socket| socket.connect((host, port)).and_then(|()| socket.local_addr()));
        match found {
            Ok(address) => return Ok(address.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
                let (tls, ready) = (tls.clone(), ready.clone());
                tokio::spawn(async move {
                    match open(stream, tls, slot).await {
                        Ok(connection) => drop(ready.send(Ok(connection)).await),
                        Err(error) => tracing::debug!(%address, %error, "connection refused"),
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

async fn open(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    slot: OwnedSemaphorePermit,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let stream = match tls {
        Some(tls) => tokio::time::timeout(HANDSHAKE, Secured::accept(stream, tls)).await??,
        None => Secured::Plain(stream),
    };
    Ok(Connection { stream, _slot: slot })
}

/// A connection of another worker.
struct Connection {
    stream: Secured,
    _slot: OwnedSemaphorePermit,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// `None` in plain text.
    pub(super) fingerprint: Option<Fingerprint>,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller { fingerprint: self.stream.peer_certificate().map(Fingerprint::of) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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

#[cfg(test)]
mod tests;
