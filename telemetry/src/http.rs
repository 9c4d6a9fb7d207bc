//! An HTTP server that a slow or hostile client cannot block: HTTP/1.1 and HTTP/2, in plain text or over TLS.
//!
//! Each connection has its own task, which includes the TLS handshake, so that connections do not affect each other.

mod connection;
pub mod pieces;
mod request;
mod seat;
pub mod unread;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::throttle::{Rate, Throttle};
use connection::{Connection, Open};
use seat::Rooms;

/// The present TLS configuration. Each new connection uses the newest one.
pub type TlsConfig = watch::Receiver<Arc<rustls::ServerConfig>>;

/// Connections from one source: further ones wait before they are served.
const CONNECTIONS: Rate = match (NonZeroU32::new(100), NonZeroU32::new(1000)) {
    (Some(per_second), Some(at_once)) => Rate { per_second, at_once },
    _ => panic!("expected positive numbers"),
};

/// Pause after a failed `accept`, for example when the process has no free file descriptors. It prevents a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server grants its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections with a request that is being answered; further requests are refused. Clients of one source get a
    /// quarter. In addition there is room for an eighth as many connections, but at least 64, that wait for a whole
    /// request. If more come, the oldest ones of the source with the most are closed.
    pub connections: usize,
    /// Longest TLS handshake, and longest wait before it of a connection from where too many come.
    pub handshake: Duration,
    /// How long a connection may be without an active request: before the first one, between two, and while the head
    /// of a request is being sent.
    pub quiet: Duration,
    /// How long the body of a request may take to arrive.
    pub body: Duration,
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// How long a client may leave sent data unacknowledged, or not read an answer.
    pub stalled: Duration,
    /// How long active requests may continue when the server or their connection is closing.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(10),
            quiet: Duration::from_secs(10),
            body: Duration::from_secs(10),
            body_bytes: 64 * 1024,
            stalled: Duration::from_secs(30),
            closing: Duration::from_secs(1),
        }
    }
}

/// The sender of a request, available as an extension of the request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The certificates that the client proved to hold, its own first; empty if no certificate was requested.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// Receives the events of connections, to count them. Methods must not block.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted.
    fn opened(&self) {}
    /// An accepted connection has ended.
    fn closed(&self) {}
    /// A connection was closed, or a request refused, because a limit of connections is reached.
    fn refused(&self) {}
    /// The TLS handshake with a client failed.
    fn handshake_failed(&self) {}
}

impl Observer for () {}

/// A server of the routes of a router on a listener.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    tls: Option<TlsConfig>,
    limits: Limits,
    observer: Arc<dyn Observer>,
}

impl HttpServer {
    /// Creates a server in plain text with the default limits.
    pub fn new(listener: TcpListener, router: Router) -> Self {
        Self { listener, router, tls: None, limits: Limits::default(), observer: Arc::new(()) }
    }

    /// Serves over TLS if a configuration is given. Its ALPN protocols decide between HTTP/2 (`h2`) and `http/1.1`.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<TlsConfig>) -> Self {
        self.tls = tls;
        self
    }

    /// Replaces the default limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the observer that counts connections.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Serves until `end` is cancelled. Active requests then have [`Limits::closing`] to finish.
    pub async fn serve(self, end: CancellationToken) {
        let rooms = Rooms::new(&self.limits, &self.observer);
        let pace = Arc::new(Throttle::new(CONNECTIONS, self.limits.handshake));
        let limits = Arc::new(self.limits);
        let tasks = TaskTracker::new();
        while let Some((stream, address)) = accept(&self.listener, &end).await {
            let connection = Connection {
                address,
                router: self.router.clone(),
                limits: Arc::clone(&limits),
                end: end.clone(),
                open: Open::new(Arc::clone(&self.observer)),
                seat: rooms.enter(address.ip().into()),
                pace: Arc::clone(&pace),
            };
            tasks.spawn(serve_one(connection, stream, self.tls.as_ref().map(newest)));
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

/// The next connection; `None` once `end` is cancelled.
async fn accept(listener: &TcpListener, end: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return None,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => tracing::warn!(%error, "no connection can be accepted"),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

fn newest(tls: &TlsConfig) -> Arc<rustls::ServerConfig> {
    Arc::clone(&tls.borrow())
}

async fn serve_one(connection: Connection, stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) {
    let address = connection.address;
    if let Err(error) = connection.serve(stream, tls).await {
        tracing::debug!(%address, error, "connection ended");
    }
}

#[cfg(test)]
mod tests;
