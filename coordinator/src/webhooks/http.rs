//! POST requests over HTTP/1.1, each on a connection of its own: events are rare, and a receiver may restart between two.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::http::request::Builder;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use lookbehind_identity::{Access, IdentityError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// A URL that events are sent to.
#[derive(Clone, Debug)]
pub struct ReceiverUrl {
    /// Scheme, host and port.
    origin: String,
    access: Access,
    /// What is behind the origin; it may be a secret.
    path: String,
}

/// Why a text is not the URL of a receiver. The text itself is not quoted: it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is not a URL.
    #[error("expected a URL: {0}")]
    Unsound(String),
    /// It names no host, or another scheme.
    #[error("expected https:// or http:// and a host")]
    Origin,
    /// It has a user name or password.
    #[error("expected no user name and no password in it; events are signed instead")]
    Password,
}

impl FromStr for ReceiverUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|error| UrlError::Unsound(format!("{error}")))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(UrlError::Origin);
        };
        if authority.as_str().contains('@') {
            return Err(UrlError::Password);
        }
        let origin = format!("{scheme}://{authority}");
        let access = Access::new(&origin, None).map_err(|error| UrlError::Unsound(error.to_string()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { origin, access, path })
    }
}

impl ReceiverUrl {
    /// Scheme, host and port: what may be shown. Paths and queries of webhooks are often secrets.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether what is sent can be read on its way to another machine.
    pub(crate) fn is_exposed(&self) -> bool {
        let host = self.access.host();
        let is_here = host == "localhost"
            || host.parse().is_ok_and(|address: std::net::IpAddr| address.to_canonical().is_loopback());
        !self.access.is_secured() && !is_here
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// No connection, or none that is trusted.
    #[error("no connection: {0}")]
    Connection(#[from] std::io::Error),
    /// The connection ended, or what came over it is not HTTP.
    #[error("no answer: {0}")]
    Exchange(#[from] hyper::Error),
    /// The request cannot be written down.
    #[error("no request: {0}")]
    Request(#[from] hyper::http::Error),
}

/// Sends requests to one receiver.
pub(super) struct Client {
    url: ReceiverUrl,
    tls: TlsConnector,
}

impl Client {
    /// A client that trusts the authorities that the system trusts.
    ///
    /// # Errors
    /// If TLS cannot be configured.
    pub(super) fn new(url: ReceiverUrl) -> Result<Self, IdentityError> {
        let mut config = Arc::unwrap_or_clone(url.access.client_config()?);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { url, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The receiver as it may be shown.
    pub(super) fn origin(&self) -> &str {
        self.url.origin()
    }

    /// Sends a body with some headers and returns the status of the answer, whose body is not read.
    ///
    /// # Errors
    /// If there is no answer.
    pub(super) async fn post(
        &self,
        headers: impl FnOnce(Builder) -> Builder,
        body: Bytes,
    ) -> Result<StatusCode, PostError> {
        let access = &self.url.access;
        let host = self.url.origin.split_once("://").map_or("", |(_, host)| host);
        let request = headers(Request::post(&self.url.path).header(HOST, host)).body(Full::new(body))?;
        let stream = TcpStream::connect((access.host(), access.port())).await?;
        if !access.is_secured() {
            return Ok(exchange(stream, request).await?);
        }
        let name = ServerName::try_from(access.host().to_owned()).map_err(std::io::Error::other)?;
        Ok(exchange(self.tls.connect(name, stream).await?, request).await?)
    }
}

/// Sends a request over a connection and returns the status of the answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    Ok(sender.send_request(request).await?.status())
}
