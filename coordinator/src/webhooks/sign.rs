//! Signatures of webhooks: HMAC-SHA256 over the time of sending, a full stop and the body.

use std::path::{Path, PathBuf};

use ring::hmac;

/// Least length of a secret in bytes.
const LEAST: usize = 16;

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("webhook-secret-file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The secret can be guessed.
    #[error("webhook-secret-file {path}: expected a secret of at least {LEAST} bytes, found {found}")]
    Short {
        /// The file.
        path: PathBuf,
        /// Length in bytes of what it holds.
        found: usize,
    },
}

/// The secret that coordinator and receivers share.
pub(super) struct Secret(hmac::Key);

impl Secret {
    /// Reads the secret from a file: all bytes but white space at the end, such as the line feed that editors add.
    pub(super) fn read(path: &Path) -> Result<Self, SecretError> {
        let bytes =
            std::fs::read(path).map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
        let secret = bytes.trim_ascii_end();
        if secret.len() < LEAST {
            return Err(SecretError::Short { path: path.to_owned(), found: secret.len() });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The value of the signature's header for a body that is sent at `seconds` since 1970.
    pub(super) fn sign(&self, seconds: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(seconds.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        let hex = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("v1={hex}")
    }
}
