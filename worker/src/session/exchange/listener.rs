//! Where this worker takes connections from other workers.

mod accept;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_identity::peers::{Fingerprint, PeerCertificate};
use lookbehind_identity::{IdentityError, SocketName};
use lookbehind_proto::transfer::{FRAME_BYTES, WINDOW_BYTES};
use lookbehind_proto::v1;
use tokio::net::TcpListener;
use tonic::transport::Server;

pub(super) use self::accept::Caller;
use self::accept::Sockets;
use super::peers::Peers;
use super::round::Board;
use super::server::PeerServer;
use crate::session::WorkerError;
use crate::telemetry::WorkerMetrics;

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
    /// Where processes of this machine reach it.
    socket: Option<SocketName>,
    fingerprint: Option<Fingerprint>,
    pub(in crate::session) board: Arc<Board>,
    pub(in crate::session) peers: Peers,
}

impl Listening {
    /// Listens as configured, until the runtime ends. `own` is an address of this machine that others may reach, for the
    /// case that it listens on all of them. With `is_guarded`, connections are encrypted, and only those of
    /// workers that the coordinator has named are taken. With `advertise`, others reach it under that address alone;
    /// else processes of this machine need not go through the network.
    ///
    /// # Errors
    /// If the address cannot be listened on, or there is no randomness for a certificate or a name.
    pub(in crate::session) async fn start(
        address: SocketAddr,
        own: IpAddr,
        advertise: Option<&str>,
        is_guarded: bool,
        metrics: WorkerMetrics,
    ) -> Result<Self, WorkerError> {
        let failed = |error: io::Error| WorkerError::System(format!("peers {address}: {error}"));
        let system = |error: IdentityError| WorkerError::System(error.to_string());
        let certificate = is_guarded.then(PeerCertificate::create).transpose().map_err(system)?.map(Arc::new);
        let board = Arc::new(Board::default());
        let tls = certificate.as_ref().map(|certificate| certificate.server(Arc::clone(&board) as Arc<_>));
        let tls = tls.transpose().map_err(system)?;
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let reached =
            SocketAddr::new(if bound.ip().is_unspecified() { own } else { bound.ip() }, bound.port());
        let name = match advertise {
            Some(_) => None,
            None => Some(SocketName::random().map_err(system)?),
        };
        let address = advertised(advertise, reached);
        tracing::info!(listens = %bound, advertised = address, encrypted = tls.is_some(), "other workers are served");
        let (sockets, socket) = Sockets::new(listener, name);
        let service = PeerServer { board: Arc::clone(&board), is_guarded, metrics: metrics.clone() };
        let server = Server::builder()
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(ALIVE))
            .http2_keepalive_timeout(Some(ALIVE))
            .add_service(service)
            .serve_with_incoming(sockets.connections(tls));
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "other workers are not served any more");
            }
        });
        let fingerprint = certificate.as_ref().map(|certificate| certificate.fingerprint());
        Ok(Self { address, socket, fingerprint, board, peers: Peers::new(certificate, metrics) })
    }

    /// What the coordinator tells other workers.
    pub(in crate::session) fn endpoint(&self) -> v1::PeerEndpoint {
        let fingerprint = self.fingerprint.map(|fingerprint| fingerprint.as_bytes().to_vec());
        v1::PeerEndpoint {
            address: self.address.clone(),
            fingerprint: fingerprint.unwrap_or_default().into(),
            socket: self.socket.map(|name| name.as_bytes().to_vec()).unwrap_or_default().into(),
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

#[cfg(test)]
mod tests;
