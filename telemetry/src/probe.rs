//! Queries the readiness of a program on this machine, for health checks of containers.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::HOST;
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

mod pinned;

/// Longest duration of the whole query.
const LIMIT: Duration = Duration::from_secs(3);
/// Bytes of the reason that are read at most.
const REASON_BYTES: usize = 4096;

/// A query of a program's `/readyz`.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Address on which the program listens. For a wildcard address (`0.0.0.0`, `::`) the loopback address is queried.
    pub address: SocketAddr,
    /// PEM file with the certificate of the server; `None` for plain text. Exactly this certificate is accepted,
    /// whatever names it has, and no other, whatever its signer.
    pub certificate: Option<PathBuf>,
}

/// Why a program is not ready, or could not be queried.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The program answered that it is not ready.
    #[error("not ready: {0}")]
    NotReady(String),
    /// An HTTP server answered with an unexpected status.
    #[error("{address}: expected 200 or 503, found {status}")]
    Status {
        /// The address that was queried.
        address: SocketAddr,
        /// The status of its response.
        status: StatusCode,
    },
    /// There was no response in time.
    #[error("{address}: no answer within {LIMIT:?}")]
    Silent {
        /// The address that was queried.
        address: SocketAddr,
    },
    /// The connection could not be opened, or was lost.
    #[error("{address}: {source}")]
    Connection {
        /// The address that was queried.
        address: SocketAddr,
        /// The error of the connection.
        source: Error,
    },
    /// The file does not contain a certificate.
    #[error("{path}: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime for the query could not be started.
    #[error("{0}")]
    System(Error),
}

impl Probe {
    /// Queries the program, prints the result and returns an exit code: 0 if it is ready, 1 otherwise.
    pub fn run(&self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime.map_err(ProbeError::System).and_then(|runtime| runtime.block_on(self.ask())) {
            Ok(()) => {
                println!("ready");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Queries the program.
    ///
    /// # Errors
    /// When the program is not ready, or does not answer within three seconds.
    pub async fn ask(&self) -> Result<(), ProbeError> {
        let address = reachable(self.address);
        let asked = tokio::time::timeout(LIMIT, self.connect_and_ask(address)).await;
        asked.unwrap_or(Err(ProbeError::Silent { address }))
    }

    async fn connect_and_ask(&self, address: SocketAddr) -> Result<(), ProbeError> {
        let failed = |source| ProbeError::Connection { address, source };
        let pinned = self.certificate.as_deref().map(pinned::config).transpose()?;
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        let answered = match pinned {
            None => readyz(stream, address).await,
            Some(config) => {
                let connector = TlsConnector::from(Arc::new(config));
                let stream = connector.connect(address.ip().into(), stream).await.map_err(failed)?;
                readyz(stream, address).await
            }
        };
        match answered.map_err(failed)? {
            (StatusCode::OK, _) => Ok(()),
            (StatusCode::SERVICE_UNAVAILABLE, reason) => {
                Err(ProbeError::NotReady(String::from_utf8_lossy(&reason).trim().to_owned()))
            }
            (status, _) => Err(ProbeError::Status { address, status }),
        }
    }
}

/// The address under which a program that listens on `address` can be reached from its own machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn readyz<S>(stream: S, address: SocketAddr) -> Result<(StatusCode, Bytes), Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::other)?;
    let request = Request::get("/readyz").header(HOST, address.to_string()).body(Body::empty());
    let request = request.map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(Error::other)?;
        let status = response.status();
        let reason =
            Limited::new(response.into_body(), REASON_BYTES).collect().await.map_err(Error::other)?;
        Ok((status, reason.to_bytes()))
    };
    let connection = tokio::spawn(connection);
    let answered = exchange.await;
    connection.abort();
    answered
}

#[cfg(test)]
mod tests;
