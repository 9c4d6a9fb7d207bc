//! What the tests of several modules need.

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

/// Asks a router without a network.
pub(crate) async fn get(router: &Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).unwrap();
    TowerToHyperService::new(router.clone()).call(request).await.unwrap()
}

/// An answer's status and text.
pub(crate) async fn read(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// A certificate with its key that nobody else signed.
pub(crate) struct SelfSigned {
    /// As it is written to files.
    pub(crate) pem: String,
    config: Arc<ServerConfig>,
}

impl SelfSigned {
    /// A new one.
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

    /// What a server needs to serve with it.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Connections as a server counts them.
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
    /// Returns when so many connections are open.
    pub(crate) async fn open(&self, number: usize) {
        self.open.subscribe().wait_for(|open| *open == number).await.unwrap();
    }

    /// Returns when one was refused.
    pub(crate) async fn one_refused(&self) {
        self.refused.subscribe().wait_for(|refused| *refused == 1).await.unwrap();
    }

    /// Returns when so many could not agree on TLS.
    pub(crate) async fn no_tls(&self, number: usize) {
        self.no_tls.subscribe().wait_for(|failed| *failed == number).await.unwrap();
    }
}

/// A server in the background.
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

    /// Ends it; returns when no connection is left.
    pub(crate) async fn end(self) {
        self.end.cancel();
        self.task.await.unwrap();
    }
}
