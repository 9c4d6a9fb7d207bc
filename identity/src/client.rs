//! The caller's side: address of the coordinator, TLS, and the token of each call. Credentials are read again for each
//! connection, so that new files take effect without a restart.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderMap, HeaderValue, Uri};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint, Error};
use tonic::{Request, Status};
use tower_service::Service;

use crate::calls::{Calls, Heard, Listened, listened};
use crate::error::IdentityError;
use crate::folder::{CERTIFICATE, Folder, provider};
use crate::principal::Identity;
use crate::secured::{self, Secured, Socket};

/// How long to wait for the server to refuse the client certificate. No refusal within this time counts as acceptance.
const OPINION: Duration = Duration::from_secs(2);

/// Address of a coordinator and the credentials for calls to it.
#[derive(Clone, Debug)]
pub struct Access {
    origin: Uri,
    host: String,
    port: u16,
    folder: Option<Folder>,
}

/// Why an address or a folder of credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The address is invalid.
    #[error(
        "coordinator {address:?}: expected an address like https://host:7070 or http://host:7070: {reason}"
    )]
    Address {
        /// The address as given, without parts that may be secret.
        address: String,
        /// What is wrong with the address.
        reason: String,
    },
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] IdentityError),
}

/// Why there is no connection to a coordinator. [`Refusal::of`](crate::Refusal::of) tells the causes apart.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] IdentityError),
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] Error),
}

impl Access {
    /// Takes an address, `https://host:port` or `http://host:port`. A folder of credentials is allowed only with
    /// `https`.
    ///
    /// # Errors
    /// If the address is invalid, or credentials would be sent in plain text.
    pub fn new(address: &str, folder: Option<Folder>) -> Result<Self, AccessError> {
        let wrong =
            |reason: &str| AccessError::Address { address: without_secrets(address), reason: reason.into() };
        let uri: Uri = address.parse().map_err(|error| wrong(&format!("{error}")))?;
        let parts = (uri.scheme_str(), uri.authority());
        let (Some(scheme @ ("http" | "https")), Some(authority)) = parts else {
            return Err(wrong("it begins with neither http:// nor https://"));
        };
        if authority.as_str().contains('@') {
            return Err(wrong(
                "credentials do not belong into an address; give their folder with --credentials",
            ));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("something stands behind the port"));
        }
        if scheme == "http" && folder.is_some() {
            return Err(wrong(
                "credentials are not sent in plain text; the address of a coordinator with TLS begins with https://",
            ));
        }
        let default = if scheme == "https" { 443 } else { 80 };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(default);
        Ok(Self { host, port, folder, origin: uri })
    }

    /// Host of the coordinator.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port of the coordinator.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether connections are encrypted.
    pub fn is_secured(&self) -> bool {
        self.origin.scheme_str() == Some("https")
    }

    /// Reads the credentials once, to report errors in them before the first call.
    ///
    /// # Errors
    /// Names the file that is missing or has unexpected content.
    pub fn check(&self) -> Result<(), AccessError> {
        if let Some(folder) = &self.folder {
            folder.check_holder()?;
            self.client_config()?;
            self.authorize()?;
        }
        Ok(())
    }

    /// An endpoint for the coordinator, to be configured further by the caller.
    pub fn endpoint(&self) -> Endpoint {
        // `Connector` does TLS itself. The library must therefore see a plain address, and `origin` gives calls the
        // true one.
        let plain = Endpoint::from_static("http://coordinator");
        plain.origin(self.origin.clone())
    }

    /// Connects to the coordinator.
    ///
    /// # Errors
    /// If no server answers, one side does not trust the other, or the credentials cannot be read.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Calls, ConnectError> {
        let (authorize, heard) = (self.authorize()?, Heard::default());
        let connector = Connector { access: self.clone(), heard: heard.clone() };
        let channel = endpoint.connect_with_connector(connector).await?;
        Ok(Calls::new(channel, authorize, heard))
    }

    /// A channel that connects on first use and reconnects when the connection is lost.
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(Connector { access: self.clone(), heard: Heard::default() })
    }

    /// The interceptor that adds the token to each call. It adds nothing if the client has a certificate.
    ///
    /// # Errors
    /// If the token cannot be read.
    pub fn authorize(&self) -> Result<Authorize, IdentityError> {
        let Some(folder) = &self.folder else { return Ok(Authorize(None)) };
        if folder.file(CERTIFICATE).exists() {
            return Ok(Authorize(None));
        }
        let Some(token) = folder.token()? else { return Ok(Authorize(None)) };
        let value = MetadataValue::try_from(format!("Bearer {}", token.secret()));
        let mut value = value.map_err(|error| IdentityError::System(error.to_string()))?;
        value.set_sensitive(true);
        Ok(Authorize(Some(value)))
    }

    /// TLS configuration with the present content of the credential files.
    ///
    /// # Errors
    /// Names the file that is missing or has unexpected content.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        let folder = self.folder.as_ref();
        let roots = match folder.map(Folder::authorities).transpose()?.flatten() {
            Some(roots) => roots,
            None => system_roots(),
        };
        let system = |error: rustls::Error| IdentityError::System(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(system)?
            .with_root_certificates(roots);
        let mut config = match folder.map(Folder::pair).transpose()?.flatten() {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(system)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Waits for the server's verdict on the client certificate. A TLS 1.3 handshake ends on the client before that
/// verdict arrives, and the first call would then fail without a reason. A server that sends nothing is taken to
/// accept.
async fn heed(stream: &mut TlsStream<Socket>) -> io::Result<()> {
    let (Socket::Left(tcp), tls) = stream.get_mut() else { return Ok(()) };
    // In TLS 1.2 the server verifies the client certificate before the handshake ends.
    if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    let heard = async {
        loop {
            tcp.readable().await?;
            match tls.read_tls(&mut Arrived(tcp)) {
                Ok(_) => return tls.process_new_packets().map(drop).map_err(io::Error::other),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(OPINION, heard).await.unwrap_or(Ok(()))
}

/// Reads the bytes that have arrived at a socket, and never waits for more.
struct Arrived<'a>(&'a TcpStream);

impl io::Read for Arrived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

/// The part of an invalid address that may be shown.
fn without_secrets(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, behind)) => format!("…@{behind}"),
        None => address.to_owned(),
    }
}

fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    tracing::debug!(added, "the system's certificate authorities are trusted");
    store
}

/// Adds the bearer token to calls. Without a token it leaves calls unchanged.
#[derive(Clone, Debug)]
pub struct Authorize(Option<MetadataValue<Ascii>>);

impl Authorize {
    /// Adds the token to the headers of a call that is made without a generated client.
    pub fn put_on(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.0
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            headers.insert(AUTHORIZATION, value);
        }
    }
}

impl Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[derive(Clone, Debug)]
struct Connector {
    access: Access,
    heard: Heard,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Listened>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { access, heard } = self.clone();
        Box::pin(async move { open(&access).await.map(|stream| TokioIo::new(listened(stream, heard))) })
    }
}

async fn open(access: &Access) -> io::Result<Secured> {
    let stream = TcpStream::connect((access.host.as_str(), access.port)).await?;
    stream.set_nodelay(true)?;
    if access.origin.scheme_str() != Some("https") {
        return Ok(secured::plain(stream));
    }
    let tls = TlsConnector::from(access.client_config().map_err(io::Error::other)?);
    let name = ServerName::try_from(access.host.clone());
    let name = name.map_err(|error: InvalidDnsNameError| io::Error::other(error.to_string()))?;
    let mut stream = tls.connect(name, Socket::Left(stream)).await?;
    heed(&mut stream).await?;
    let stream = Secured::Right(Box::new(stream.into()));
    let shown = secured::peer_certificate(&stream);
    // Otherwise a worker or user could pose as the coordinator with its own valid certificate.
    if let Some(Ok(identity)) = shown.map(Identity::of_certificate) {
        return Err(io::Error::other(format!(
            "{}: its certificate is that of {identity}, not of a coordinator",
            access.origin
        )));
    }
    Ok(stream)
}

#[cfg(test)]
mod tests;
