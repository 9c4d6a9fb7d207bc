//! `/metrics`, `/livez` and `/readyz` of a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use lookbehind_common::BUILD_VERSION;
use lookbehind_identity::IdentityError;
use lookbehind_telemetry::http::{HttpServer, TlsConfig};
use lookbehind_telemetry::{health, metrics};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::WorkerMetrics;

/// Why a worker cannot be monitored.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("listen {address}: {source}")]
    Listen {
        /// The address that was to be listened on.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("credentials: {0}")]
    Credentials(#[from] IdentityError),
    /// Other machines could read plain text, and this was not permitted.
    #[error(
        "listen {address}: other machines reach it, and there is no TLS; --plaintext allows plain text there"
    )]
    Plaintext {
        /// The address that other machines can reach.
        address: SocketAddr,
    },
}

/// An open port on which a worker can be monitored. Dropping it closes the port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsConfig>,
}

impl Server {
    /// Listens on an address. Without TLS it must be an address that only this machine reaches, unless `plaintext` is
    /// set.
    ///
    /// # Errors
    /// If the address cannot be listened on, or plain text is not permitted there.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<TlsConfig>,
        plaintext: bool,
    ) -> Result<Self, ServeError> {
        if tls.is_none() && !plaintext && !address.ip().to_canonical().is_loopback() {
            return Err(ServeError::Plaintext { address });
        }
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, tls = tls.is_some(), "metrics and health are served");
        Ok(Self { listener, address, tls })
    }

    /// The address on which it listens, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with a worker's metrics until `end` is cancelled. A worker is ready while it is registered with a
    /// coordinator.
    pub async fn serve(self, watched: WorkerMetrics, end: CancellationToken) {
        let mut registry = metrics::registry(BUILD_VERSION);
        watched.register(&mut registry);
        let ready = move || match watched.is_registered() {
            true => Ok(()),
            false => Err("not registered with the coordinator".to_owned()),
        };
        let router = metrics::router(Arc::new(registry)).merge(health::router(ready));
        HttpServer::new(self.listener, router).with_tls(self.tls).serve(end).await;
    }
}

#[cfg(test)]
mod tests;
