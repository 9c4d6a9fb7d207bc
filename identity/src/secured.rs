//! A connection with or without TLS: over TCP, or within a machine.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::either::Either;

/// A connection over TCP, or over a Unix socket to another process of this machine.
pub type Socket = Either<TcpStream, UnixStream>;

/// A connection in plain text, or encrypted with TLS, on the client's or the server's side.
pub type Secured = Either<Socket, Box<TlsStream<Socket>>>;

/// A connection over TCP in plain text.
pub fn plain(stream: TcpStream) -> Secured {
    Either::Left(Either::Left(stream))
}

/// Performs the server's side of the TLS handshake on an accepted connection.
///
/// # Errors
/// If the peer does not speak TLS or its certificate is not trusted.
pub async fn accept(stream: Socket, config: Arc<ServerConfig>) -> io::Result<Secured> {
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    Ok(Either::Right(Box::new(stream.into())))
}

/// The certificate that the peer presented; `None` in plain text or if it presented none.
pub fn peer_certificate(stream: &Secured) -> Option<&CertificateDer<'static>> {
    match stream {
        Either::Left(_) => None,
        Either::Right(stream) => stream.get_ref().1.peer_certificates()?.first(),
    }
}
