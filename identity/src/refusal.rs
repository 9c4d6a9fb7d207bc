//! Why a coordinator cannot be talked to although something answers at its address: one side does not trust the other,
//! or another protocol is spoken there.

use std::error::Error;
use std::io;

use rustls::AlertDescription;

/// Why there is no usable connection to a coordinator, although something answers at its address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The other side does not accept this side's credentials.
    #[error("it does not accept this side's credentials ({0})")]
    Credentials(String),
    /// There is no encryption that both sides accept, for example because its certificate is not trusted.
    #[error("{0}")]
    Encryption(String),
    /// Another protocol is spoken there.
    #[error(transparent)]
    Protocol(#[from] Mismatch),
}

/// The server at an address speaks another protocol than the one that the address, or the caller, expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It answers plain text with TLS.
    #[error("the server there speaks TLS: its address begins with https://")]
    Tls,
    /// It answers TLS with something else.
    #[error("the server there does not speak TLS: in plain text its address begins with http://")]
    PlainText,
    /// It speaks HTTP, and its answers are none of gRPC.
    #[error(
        "the server there answers HTTP requests and not gRPC{}: a coordinator's pages and its gRPC have ports of their own",
        in_parentheses(*.0)
    )]
    Http(Option<u16>),
}

fn in_parentheses(status: Option<u16>) -> String {
    status.map(|status| format!(" (status {status})")).unwrap_or_default()
}

impl Refusal {
    /// The refusal among the causes of an error; `None` for other errors.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            // `source()` skips the error that an I/O error wraps.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let wrapped = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static));
            let inner = wrapped.unwrap_or(error);
            if let Some(mismatch) = inner.downcast_ref::<Mismatch>() {
                return Some(Self::Protocol(*mismatch));
            }
            if let Some(error) = inner.downcast_ref::<rustls::Error>() {
                return Some(Self::of_tls(error));
            }
            cause = wrapped.and_then(Error::source).or_else(|| error.source());
        }
        None
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) if is_of_credentials(*alert) => {
                Self::Credentials(format!("{alert:?}"))
            }
            rustls::Error::InvalidCertificate(reason) => {
                Self::Encryption(format!("its certificate is not trusted: {reason}"))
            }
            rustls::Error::InvalidMessage(_) => Self::Protocol(Mismatch::PlainText),
            other => Self::Encryption(other.to_string()),
        }
    }
}

/// Whether an alert concerns what this side has shown, or has not shown, of itself.
fn is_of_credentials(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}
