//! The folder in which a process keeps its credentials.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::IdentityError;
use crate::tokens::{Token, Tokens};

/// The certificate, followed by intermediate certificates.
pub const CERTIFICATE: &str = "cert.pem";
/// The private key.
pub const KEY: &str = "key.pem";
/// The trusted authorities.
pub const CA: &str = "ca.pem";
/// A bearer token.
pub const TOKEN: &str = "token";
/// Hashes of the tokens that a coordinator accepts.
pub const TOKENS: &str = "tokens.toml";

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A certificate chain with its private key.
pub(crate) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The one provider of cryptography for all TLS configurations.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The folder with the credentials of a process. Nothing is cached: each method reads its file again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`. It is not accessed yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, IdentityError> {
        let path = self.file(name);
        // A link to a device may never end.
        let read = File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Ok(bytes) if bytes.len() as u64 > MAX_FILE => {
                Err(IdentityError::content(&path, "at most 1 MiB", "more"))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Read { path, source }),
        }
    }

    fn required(&self, name: &str) -> Result<Vec<u8>, IdentityError> {
        let missing = || std::io::Error::from(ErrorKind::NotFound);
        self.read(name)?.ok_or_else(|| IdentityError::Read { path: self.file(name), source: missing() })
    }

    fn certificates(&self, name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let unsound = |found: String| IdentityError::content(&self.file(name), "PEM certificates", found);
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let parsed = parsed.map_err(|error| unsound(error.to_string()))?;
        if parsed.is_empty() { Err(unsound("none".into())) } else { Ok(parsed) }
    }

    /// Its certificate and key; `None` if it has no certificate.
    pub(crate) fn pair(&self) -> Result<Option<Pair>, IdentityError> {
        let Some(pem) = self.read(CERTIFICATE)? else { return Ok(None) };
        let chain = self.certificates(CERTIFICATE, &pem)?;
        let key = PrivateKeyDer::from_pem_slice(&self.required(KEY)?)
            .map_err(|error| IdentityError::content(&self.file(KEY), "a private key in PEM", error))?;
        Ok(Some((chain, key)))
    }

    /// The trusted authorities; `None` if it has no `ca.pem`.
    pub(crate) fn authorities(&self) -> Result<Option<RootCertStore>, IdentityError> {
        let Some(pem) = self.read(CA)? else { return Ok(None) };
        let mut store = RootCertStore::empty();
        for certificate in self.certificates(CA, &pem)? {
            store.add(certificate).map_err(|error| {
                IdentityError::content(&self.file(CA), "certificates of authorities", error)
            })?;
        }
        Ok(Some(store))
    }

    /// Refuses a folder with neither a certificate nor a token.
    pub(crate) fn check_holder(&self) -> Result<(), IdentityError> {
        let proves = [CERTIFICATE, TOKEN].iter().any(|name| self.file(name).exists());
        let found = if self.0.is_dir() { "a folder with neither" } else { "no folder" };
        let expected = "a folder with cert.pem and key.pem, or a token";
        if proves { Ok(()) } else { Err(IdentityError::content(&self.0, expected, found)) }
    }

    /// The bearer token; `None` if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read or does not contain a token.
    pub fn token(&self) -> Result<Option<Token>, IdentityError> {
        let Some(bytes) = self.read(TOKEN)? else { return Ok(None) };
        // Bytes that are no text are no token either.
        let text = String::from_utf8_lossy(&bytes);
        Token::in_file(&text, &self.file(TOKEN)).map(Some)
    }

    /// The tokens that a coordinator accepts; empty if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read or does not contain a list of tokens.
    pub fn tokens(&self) -> Result<Tokens, IdentityError> {
        let Some(bytes) = self.read(TOKENS)? else { return Ok(Tokens::default()) };
        let text = String::from_utf8(bytes).map_err(|error| self.no_tokens(error))?;
        Tokens::parse(&text).map_err(|error| self.no_tokens(error))
    }

    fn no_tokens(&self, error: impl std::fmt::Display) -> IdentityError {
        IdentityError::content(&self.file(TOKENS), "a list of [[token]] with name, role and hash", error)
    }
}
