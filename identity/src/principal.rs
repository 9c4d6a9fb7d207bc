//! Names and roles, and their representation in a certificate.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::error::IdentityError;

/// What an authenticated caller is allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything that users may do, with the jobs of all users.
    Admin,
    /// Create jobs, and manage the jobs that they created.
    User,
    /// Register as a worker and compute.
    Worker,
}

impl Role {
    /// Spelling of the role in certificates and token files.
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

/// The string is not the name of a role.
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

/// An authenticated caller: name and role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Name, unique within the cluster.
    pub name: String,
    /// What the caller is allowed to do.
    pub role: Role,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.role, self.name)
    }
}

impl Identity {
    /// Reads the holder of a certificate: O of its subject is the role, CN the name.
    ///
    /// # Errors
    /// Describes what is wrong with the subject.
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

/// The one value of an attribute. Several values are refused because it would be unclear which one counts.
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

/// Checks a name. The rules are strict because a name is also the name of a folder.
pub(crate) fn check_name(name: &str) -> Result<(), IdentityError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sound = (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed);
    if sound { Ok(()) } else { Err(IdentityError::Name(name.to_owned())) }
}
