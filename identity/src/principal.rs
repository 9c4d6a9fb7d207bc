//! Names and roles, and how a certificate carries them.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::error::IdentityError;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything that users may, with everybody's jobs.
    Admin,
    /// Create jobs, and everything with those.
    User,
    /// Compute.
    Worker,
}

impl Role {
    /// As certificates and token files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role: expected admin, user or worker, found {0:?}")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let known = [Self::Admin, Self::User, Self::Worker];
        known.into_iter().find(|role| role.name() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// Somebody who has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Name, unique among those of the same cluster.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.role, self.name)
    }
}

impl Identity {
    /// Reads who a certificate belongs to: O of its subject is the role, CN the name.
    ///
    /// # Errors
    /// Says in words what the subject lacks.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let subject = parsed.subject();
        let role = only("O", subject, |name| name.iter_organization().map(|o| o.as_str().ok()).collect())?;
        let role = Role::from_str(&role).map_err(|error| format!("O: {error}"))?;
        let name = only("CN", subject, |name| name.iter_common_name().map(|cn| cn.as_str().ok()).collect())?;
        check_name(&name).map_err(|error| format!("CN: {error}"))?;
        Ok(Self { name, role })
    }
}

/// The one value of an attribute; several would leave open which one counts.
fn only<'a>(
    attribute: &str,
    subject: &'a X509Name<'a>,
    values: impl Fn(&'a X509Name<'a>) -> Vec<Option<&'a str>>,
) -> Result<String, String> {
    match values(subject).as_slice() {
        [Some(value)] => Ok((*value).to_owned()),
        found => Err(format!("{attribute}: expected one text, found {} in {subject}", found.len())),
    }
}

/// Checks a name; it also names a folder.
pub(crate) fn check_name(name: &str) -> Result<(), IdentityError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sound = (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed);
    if sound { Ok(()) } else { Err(IdentityError::Name(name.to_owned())) }
}
