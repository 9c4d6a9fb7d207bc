//! The server's side of TLS. Files are read again when they change: new certificates take effect for the next
//! connection, new tokens for the next call.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::IdentityError;
use crate::folder::{CA, CERTIFICATE, Folder, KEY, Pair, TOKENS, provider};
use crate::tokens::Tokens;
use crate::validity::Validity;

/// How often files are checked for changes.
const LOOK: Duration = Duration::from_secs(1);

/// Credentials with which a coordinator serves.
#[derive(Clone, Debug)]
pub struct GuardedServer {
    /// For gRPC: clients may present a certificate of one of the trusted authorities.
    pub grpc: Arc<ServerConfig>,
    /// For browsers and probes: no client certificate is requested.
    pub http: Arc<ServerConfig>,
    /// The tokens that the coordinator accepts.
    pub tokens: Arc<Tokens>,
    /// When the coordinator's certificate is valid.
    pub validity: Validity,
}

impl GuardedServer {
    /// Reads a coordinator's credentials.
    ///
    /// # Errors
    /// Names the file that is missing or has unexpected content.
    pub fn load(folder: &Folder) -> Result<Self, IdentityError> {
        let tokens = Arc::new(folder.tokens()?);
        let authorities = folder.authorities()?;
        if authorities.is_none() && tokens.is_empty() {
            let expected = "the authorities of client certificates here, or tokens in tokens.toml";
            return Err(IdentityError::content(
                &folder.file(CA),
                expected,
                "neither: no caller could be authenticated",
            ));
        }
        let (chain, key) = required_pair(folder)?;
        let validity = validity(folder, &chain)?;
        let unsound = |error| unsound(folder, error);
        let builder = builder().map_err(unsound)?;
        let grpc = match authorities {
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                // If tokens exist, a client without a certificate may connect: each call is authenticated by its
                // token.
                let verifier = if tokens.is_empty() { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|error| {
                    IdentityError::content(&folder.file(CA), "certificates of authorities", error)
                })?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut grpc = grpc.with_single_cert(chain.clone(), key.clone_key()).map_err(unsound)?;
        grpc.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would carry a client certificate that is not verified again, even if it has expired since.
        grpc.session_storage = Arc::new(NoServerSessionStorage {});
        grpc.send_tls13_tickets = 0;
        let http = http((chain, key)).map_err(unsound)?;
        Ok(Self { grpc: Arc::new(grpc), http: Arc::new(http), tokens, validity })
    }
}

fn required_pair(folder: &Folder) -> Result<Pair, IdentityError> {
    folder.pair()?.ok_or_else(|| IdentityError::Read {
        path: folder.file(CERTIFICATE),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    })
}

/// The validity of the first certificate of a chain, which is the coordinator's own.
fn validity(folder: &Folder, chain: &[CertificateDer<'_>]) -> Result<Validity, IdentityError> {
    let own = chain.first().map_or(Err("none".into()), Validity::of);
    own.map_err(|found| IdentityError::content(&folder.file(CERTIFICATE), "an X.509 certificate", found))
}

type Builder = rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>;

fn builder() -> Result<Builder, rustls::Error> {
    ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

fn unsound(folder: &Folder, error: rustls::Error) -> IdentityError {
    IdentityError::content(&folder.file(CERTIFICATE), "a certificate that fits key.pem", error)
}

/// TLS without client certificates.
fn http((chain, key): Pair) -> Result<ServerConfig, rustls::Error> {
    let mut config = builder()?.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS without client certificates, with the certificate of a folder.
fn public(folder: &Folder) -> Result<Arc<ServerConfig>, IdentityError> {
    http(required_pair(folder)?).map(Arc::new).map_err(|error| unsound(folder, error))
}

/// A value read from a folder of credentials, and read again when a file in the folder changes.
#[derive(Debug)]
pub struct Watched<T> {
    folder: Folder,
    /// The files of the value in force, or of the newest one that could not be used.
    seen: FileStates,
    /// How the files were at the last look, if they had changed.
    changing: Option<FileStates>,
    read: fn(&Folder) -> Result<T, IdentityError>,
    sender: watch::Sender<T>,
}

impl Watched<GuardedServer> {
    /// Watches a coordinator's credentials.
    ///
    /// # Errors
    /// As [`GuardedServer::load`].
    pub fn guarded(folder: Folder) -> Result<Self, IdentityError> {
        Self::new(folder, GuardedServer::load)
    }
}

impl Watched<Arc<ServerConfig>> {
    /// Watches the certificate of a folder for TLS without client certificates; `None` if the folder has no
    /// certificate.
    ///
    /// # Errors
    /// Names the file that is missing or has unexpected content.
    pub fn public(folder: Folder) -> Result<Option<Self>, IdentityError> {
        let certified = folder.file(CERTIFICATE).exists();
        certified.then(|| Self::new(folder, public)).transpose()
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    fn new(folder: Folder, read: fn(&Folder) -> Result<T, IdentityError>) -> Result<Self, IdentityError> {
        // Taken before reading, so that the next check notices a change that happens in between.
        let seen = state_of(&folder);
        let (sender, _) = watch::channel(read(&folder)?);
        Ok(Self { folder, seen, changing: None, read, sender })
    }

    /// The folder that is watched.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A receiver of the present value and of all later ones.
    pub fn subscribe(&self) -> watch::Receiver<T> {
        self.sender.subscribe()
    }

    /// Checks the files until `end` is cancelled. While they are invalid, the last valid value stays in force.
    pub async fn run(mut self, end: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        while end.run_until_cancelled(looks.tick()).await.is_some() {
            self.look();
        }
    }

    /// Reads the folder again if one of its files has changed, and none has since the last look: many programs write a file
    /// in steps, and an empty list of tokens would be a valid one.
    pub fn look(&mut self) {
        let found = state_of(&self.folder);
        if found == self.seen {
            self.changing = None;
            return;
        }
        if self.changing.as_ref() != Some(&found) {
            self.changing = Some(found);
            return;
        }
        self.changing = None;
        self.seen = found;
        let folder = self.folder.path().display();
        match (self.read)(&self.folder) {
            Ok(read) => {
                tracing::info!(%folder, "credentials changed and are in force");
                self.sender.send_replace(read);
            }
            Err(error) => {
                tracing::warn!(%folder, %error, "credentials changed and cannot be used: the old ones stay")
            }
        }
    }
}

/// Time of last modification and length of each file; `None` for one that is not there.
type FileStates = Vec<Option<(SystemTime, u64)>>;

/// The state of the files in a folder, to detect changes.
fn state_of(folder: &Folder) -> FileStates {
    let state = |name: &&str| {
        let metadata = std::fs::metadata(folder.file(name)).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [CERTIFICATE, KEY, CA, TOKENS].iter().map(state).collect()
}

#[cfg(test)]
mod tests;
