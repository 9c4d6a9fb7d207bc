//! An HTTP server that nobody can hold up: HTTP/1.1 and HTTP/2, in plain text or over TLS.
//!
//! Each connection has a task of its own, its TLS handshake included; what happens in one touches no other.

mod connection;
mod request;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection::{Connection, Open};

/// The newest configuration of TLS: each new connection takes what is there when it comes.
pub type TlsConfig = watch::Receiver<Arc<rustls::ServerConfig>>;

/// How long the server waits when the system gives it no connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client can take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; more are closed at once.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may be without a request under way: before the first one, between two, and while the
    /// head of one is sent.
    pub quiet: Duration,
    /// How long a request's body may take.
    pub body: Duration,
    /// Bytes that a request's body may have.
    pub body_bytes: usize,
    /// How long a client may leave unread what is sent to it.
    pub stalled: Duration,
    /// How long requests may take that are under way when the server or their connection ends.
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

/// Who sent a request: an extension of each.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The certificates that the client proved to hold, its own first; none where it was not asked for any.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// What happens to connections, for who counts them. Calls must not wait for anything.
pub trait Observer: Send + Sync + 'static {
    /// One is accepted.
    fn opened(&self) {}
    /// One that was accepted is over.
    fn closed(&self) {}
    /// One is closed because there are as many as there may be.
    fn refused(&self) {}
    /// A client and the server could not agree on TLS.
    fn handshake_failed(&self) {}
}

impl Observer for () {}

/// A server for the routes of `router` on a listener.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    tls: Option<TlsConfig>,
    limits: Limits,
    observer: Arc<dyn Observer>,
}

impl HttpServer {
    /// A server in plain text with the default limits.
    pub fn new(listener: TcpListener, router: Router) -> Self {
        Self { listener, router, tls: None, limits: Limits::default(), observer: Arc::new(()) }
    }

    /// Over TLS, where there is a configuration. Its ALPN protocols decide between HTTP/2 (`h2`) and `http/1.1`.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<TlsConfig>) -> Self {
        self.tls = tls;
        self
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With somebody who counts connections.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Serves until `end` is cancelled; then requests under way have [`Limits::closing`] to end.
    pub async fn serve(self, end: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.limits.connections));
        let limits = Arc::new(self.limits);
        let tasks = TaskTracker::new();
        while let Some((stream, address)) = accept(&self.listener, &end).await {
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                self.observer.refused();
                tracing::debug!(%address, "closed: too many connections");
                continue;
            };
            let connection = Connection {
                address,
                router: self.router.clone(),
                limits: Arc::clone(&limits),
                end: end.clone(),
                open: Open::new(Arc::clone(&self.observer), permit),
            };
            tasks.spawn(serve_one(connection, stream, self.tls.as_ref().map(newest)));
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

/// The next connection; none when all is over.
async fn accept(listener: &TcpListener, end: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return None,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => tracing::warn!(%error, "no connection to be had"),
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
