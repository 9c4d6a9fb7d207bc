//! Connections between workers. They trust no authority: each worker makes a certificate for itself when it starts, and
//! the coordinator, which has authenticated all of them, tells each the fingerprints of the others.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
pub use rustls::ServerConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::error::IdentityError;
use crate::folder::provider;
use crate::secured::{Secured, Socket};
use crate::socket_name::SocketName;

/// The name in every such certificate. Nobody compares it: the fingerprint counts.
const NAME: &str = "lookbehind-peer";

/// Identifies a certificate: the BLAKE3 hash of its DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(*blake3::hash(certificate).as_bytes())
    }

    /// The fingerprint as it was received; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes of the fingerprint.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// The certificate and key of this process for connections between workers. They exist in memory only.
#[derive(Debug)]
pub struct PeerCertificate {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl PeerCertificate {
    /// Makes a certificate.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn create() -> Result<Self, IdentityError> {
        let system = |error: rcgen::Error| IdentityError::System(error.to_string());
        let pair = KeyPair::generate().map_err(system)?;
        let params = CertificateParams::new([NAME.to_owned()]).map_err(system)?;
        let certificate = params.self_signed(&pair).map_err(system)?.der().clone();
        let key = PrivateKeyDer::try_from(pair.serialize_der());
        let key = key.map_err(|error| IdentityError::System(error.to_owned()))?;
        Ok(Self { certificate, key })
    }

    /// The fingerprint of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// TLS for taking connections from workers whose fingerprints are known.
    ///
    /// # Errors
    /// If the library refuses the certificate.
    pub fn server(&self, known: Arc<dyn Known>) -> Result<Arc<ServerConfig>, IdentityError> {
        let system = |error: rustls::Error| IdentityError::System(error.to_string());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(system)?
            .with_client_cert_verifier(Pinned::new(known))
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(system)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would not show its certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// TLS for connecting to the worker with this fingerprint.
    fn client(&self, expected: Fingerprint) -> Result<Arc<ClientConfig>, IdentityError> {
        let system = |error: rustls::Error| IdentityError::System(error.to_string());
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(system)?
            .dangerous()
            .with_custom_certificate_verifier(Pinned::new(Arc::new(expected)))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(system)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Which workers may connect.
pub trait Known: fmt::Debug + Send + Sync {
    /// Whether a worker with this fingerprint may connect now.
    fn knows(&self, fingerprint: Fingerprint) -> bool;
}

/// One worker, and no other.
impl Known for Fingerprint {
    fn knows(&self, fingerprint: Fingerprint) -> bool {
        fingerprint == *self
    }
}

/// Where a worker takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host and port.
    pub address: String,
    /// For processes of its machine.
    pub socket: Option<SocketName>,
}

/// A channel to another worker, which connects on first use. With a certificate and the other's fingerprint it is
/// encrypted; without them it is in plain text.
///
/// # Errors
/// If the library refuses the certificate.
pub fn channel(
    endpoint: &Endpoint,
    place: Place,
    secured: Option<(&PeerCertificate, Fingerprint)>,
) -> Result<Channel, IdentityError> {
    let tls = secured.map(|(own, other)| own.client(other)).transpose()?;
    Ok(endpoint.connect_with_connector_lazy(Connector { place: Arc::new(place), tls }))
}

#[derive(Clone, Debug)]
struct Connector {
    place: Arc<Place>,
    tls: Option<Arc<ClientConfig>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Secured>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { place, tls } = self.clone();
        Box::pin(async move { open(&place, tls).await.map(TokioIo::new) })
    }
}

async fn open(place: &Place, tls: Option<Arc<ClientConfig>>) -> io::Result<Secured> {
    let stream = reach(place).await?;
    let Some(tls) = tls else { return Ok(Secured::Left(stream)) };
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(Secured::Right(Box::new(stream.into())))
}

/// Opens a connection within the machine if the other worker is on it, else over TCP.
async fn reach(place: &Place) -> io::Result<Socket> {
    if let Some(name) = place.socket
        && let Ok(stream) = name.connect().await
    {
        tracing::debug!(address = place.address, "the other worker is on this machine");
        return Ok(Socket::Right(stream));
    }
    let stream = TcpStream::connect(&place.address).await?;
    stream.set_nodelay(true)?;
    Ok(Socket::Left(stream))
}

/// Accepts the certificates of known workers and no others, on either side of a connection.
#[derive(Debug)]
struct Pinned {
    known: Arc<dyn Known>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(known: Arc<dyn Known>) -> Arc<Self> {
        Arc::new(Self { known, provider: provider() })
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match self.known.knows(Fingerprint::of(certificate)) {
            true => Ok(()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }
}

/// The same for both sides: who holds the key of the certificate is proved by a signature.
macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    verify_signatures!();
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    verify_signatures!();
}

#[cfg(test)]
mod tests;
