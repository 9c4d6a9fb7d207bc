//! Helpers for the tests of several modules.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::http::{HttpServer, Limits, Observer, TlsConfig};

/// Sends a request to a router without a network.
pub(crate) async fn get(router: &Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).unwrap();
    TowerToHyperService::new(router.clone()).call(request).await.unwrap()
}

/// Status and text of a response.
pub(crate) async fn read(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// A self-signed certificate with its key.
pub(crate) struct SelfSigned {
    /// The certificate in PEM.
    pub(crate) pem: String,
    config: Arc<ServerConfig>,
}

impl SelfSigned {
    /// Creates a new certificate.
    pub(crate) fn new() -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { pem: cert.pem(), config: Arc::new(config) }
    }

    /// The TLS configuration of a server with this certificate.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Counts the connections of a server.
#[derive(Default)]
pub(crate) struct Counted {
    open: watch::Sender<usize>,
    refused: watch::Sender<usize>,
    no_tls: watch::Sender<usize>,
}

impl Observer for Counted {
    fn opened(&self) {
        self.open.send_modify(|open| *open += 1);
    }

    fn closed(&self) {
        self.open.send_modify(|open| *open -= 1);
    }

    fn refused(&self) {
        self.refused.send_modify(|refused| *refused += 1);
    }

    fn handshake_failed(&self) {
        self.no_tls.send_modify(|failed| *failed += 1);
    }
}

impl Counted {
    /// Waits until exactly this number of connections is open.
    pub(crate) async fn open(&self, number: usize) {
        self.open.subscribe().wait_for(|open| *open == number).await.unwrap();
    }

    /// Waits until this number of connections or requests has been refused.
    pub(crate) async fn refused(&self, number: usize) {
        self.refused.subscribe().wait_for(|refused| *refused == number).await.unwrap();
    }

    /// Waits until this number of TLS handshakes has failed.
    pub(crate) async fn no_tls(&self, number: usize) {
        self.no_tls.subscribe().wait_for(|failed| *failed == number).await.unwrap();
    }
}

/// A server that runs in the background.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) counted: Arc<Counted>,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves a router on a free port.
    pub(crate) async fn start(router: Router, limits: Limits, tls: Option<TlsConfig>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counted, end) = (Arc::new(Counted::default()), CancellationToken::new());
        let observer = Arc::clone(&counted);
        let server = HttpServer::new(listener, router).with_limits(limits).with_tls(tls);
        let task = tokio::spawn(server.with_observer(observer).serve(end.clone()));
        Self { address, counted, end, task }
    }

    /// Stops the server and waits until no connection is open.
    pub(crate) async fn end(self) {
        self.end.cancel();
        self.task.await.unwrap();
    }
}
