//! One connection, from being accepted to being closed.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::request::answer;
use super::seat::Seat;
use super::{Limits, Observer, Peer};
use crate::source::Source;
use crate::throttle::Throttle;

/// Concurrent requests per HTTP/2 connection.
const STREAMS: u32 = 64;
/// Largest head of an HTTP/1.1 request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Most bytes of an answer that wait in a stream of HTTP/2 for its client to read.
const SEND_BYTES: usize = 64 * 1024;
/// Largest header list of an HTTP/2 request, in bytes as HTTP/2 counts them.
const HEADER_LIST_BYTES: u32 = 16 * 1024;

/// Why a connection is closed early.
const CLOSED: &str = "made room for another, or left an answer unread";

/// An accepted connection and what is needed to serve it.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    pub(super) router: Router,
    pub(super) limits: Arc<Limits>,
    pub(super) end: CancellationToken,
    pub(super) open: Open,
    pub(super) seat: Arc<Seat>,
    /// Connections of each source.
    pub(super) pace: Arc<Throttle<Source>>,
}

/// Tells the observer when the connection has ended.
pub(super) struct Open {
    observer: Arc<dyn Observer>,
}

/// The number of active requests of a connection.
#[derive(Clone)]
pub(super) struct Activity(watch::Sender<usize>);

/// An active request. It ends when this is dropped, after the response has been sent.
pub(super) struct Busy(Activity);

impl Open {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        observer.opened();
        Self { observer }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.observer.closed();
    }
}

impl Connection {
    /// Serves the connection until it ends. The error is only logged.
    pub(super) async fn serve(
        self,
        stream: TcpStream,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<(), String> {
        let source = Source::from(self.address.ip());
        tokio::select! {
            passed = self.pace.pass(&source, 1) => passed.map_err(|refused| {
                self.open.observer.refused();
                format!("connections: {refused}")
            })?,
            () = self.seat.closing() => return Err(CLOSED.into()),
            () = self.end.cancelled() => return Ok(()),
        }
        configure(&stream, self.limits.stalled).map_err(|error| format!("socket: {error}"))?;
        let Some(tls) = tls else {
            let peer = Peer { address: self.address, encrypted: false, certificates: Arc::new([]) };
            return self.requests(stream, peer).await;
        };
        let handshake = tokio::time::timeout(self.limits.handshake, TlsAcceptor::from(tls).accept(stream));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            () = self.end.cancelled() => return Ok(()),
            () = self.seat.closing() => return Err(CLOSED.into()),
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.no_tls(error.to_string()),
            Err(_) => return self.no_tls("took too long".into()),
        };
        let peer = Peer { address: self.address, encrypted: true, certificates: certificates(&stream) };
        self.requests(stream, peer).await
    }

    fn no_tls(&self, reason: String) -> Result<(), String> {
        self.open.observer.handshake_failed();
        Err(format!("TLS handshake: {reason}"))
    }

    async fn requests<S>(self, stream: S, peer: Peer) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self { router, limits, end, seat, open: _open, .. } = self;
        let activity = Activity(watch::Sender::new(0));
        let (counted, bounds, own) = (activity.clone(), Arc::clone(&limits), Arc::clone(&seat));
        let service = service_fn(move |request| {
            answer(
                router.clone(),
                request,
                peer.clone(),
                Arc::clone(&bounds),
                Arc::clone(&own),
                counted.begin(),
            )
        });
        let protocols = protocols();
        let mut connection = pin!(protocols.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
            () = seat.closing() => return Err(CLOSED.into()),
            () = end.cancelled() => {}
            () = activity.quiet_for(limits.quiet) => {}
        }
        connection.as_mut().graceful_shutdown();
        match tokio::time::timeout(limits.closing, connection).await {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(_) => Err("cut off".into()),
        }
    }
}

impl Activity {
    pub(super) fn begin(&self) -> Busy {
        self.0.send_modify(|busy| *busy += 1);
        Busy(self.clone())
    }

    /// Waits until no request has been active for this long.
    async fn quiet_for(&self, limit: Duration) {
        let mut busy = self.0.subscribe();
        loop {
            let quiet = *busy.borrow_and_update() == 0;
            tokio::select! {
                () = tokio::time::sleep(limit), if quiet => return,
                _ = busy.changed() => {}
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.send_modify(|busy| *busy -= 1);
    }
}

/// Makes the operating system close connections whose peer is gone or does not read.
fn configure(stream: &TcpStream, stalled: Duration) -> std::io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, stalled.max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
    let milliseconds = u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, milliseconds)?)
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut protocols = auto::Builder::new(TokioExecutor::new());
    protocols.http1().max_buf_size(HEAD_BYTES);
    let http2 = &mut protocols.http2();
    http2
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_send_buf_size(SEND_BYTES);
    protocols
}

fn certificates(stream: &TlsStream<TcpStream>) -> Arc<[CertificateDer<'static>]> {
    let given = stream.get_ref().1.peer_certificates().unwrap_or_default();
    given.iter().map(|certificate| certificate.clone().into_owned()).collect()
}
