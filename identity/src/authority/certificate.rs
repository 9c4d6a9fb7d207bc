//! What the certificates of an authority say: how they are made, and what is read from those that exist.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::files::read;
use super::{COORDINATOR, library};
use crate::error::IdentityError;

/// Lifetime of the authority's own certificate, in days.
const AUTHORITY_DAYS: i64 = 3650;
/// A certificate that expires within this many days is renewed.
const RENEW_WITHIN_DAYS: i64 = 30;
/// Certificates are valid from this long before they are issued, because the clocks of machines differ a little.
const BACKDATED: Duration = Duration::hours(1);

pub(super) fn authority_params() -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    // A random number in the name distinguishes the certificates of different authorities.
    let number = getrandom::u32().map_err(|error| IdentityError::System(error.to_string()))?;
    params.distinguished_name = subject(&format!("Lookbehind cluster authority {number:08x}"), "lookbehind");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    lasting(&mut params, AUTHORITY_DAYS);
    Ok(params)
}

pub(super) fn params(
    name: &str,
    organization: &str,
    hosts: &[String],
    days: u32,
) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::new(hosts).map_err(library)?;
    params.distinguished_name = subject(name, organization);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match (hosts, organization) {
        ([], _) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        (_, COORDINATOR) => vec![ExtendedKeyUsagePurpose::ServerAuth],
        _ => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
    };
    lasting(&mut params, i64::from(days));
    Ok(params)
}

fn subject(name: &str, organization: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organization);
    subject.push(DnType::CommonName, name);
    subject
}

fn lasting(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(days);
}

/// The content of a certificate that decides whether it must be replaced.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) organization: String,
    pub(super) hosts: Vec<String>,
    /// Expiry, in seconds since 1970.
    expires: i64,
    pub(super) public_key: Vec<u8>,
    /// Whether this authority signed it.
    pub(super) signed: bool,
}

impl Shown {
    pub(super) fn read(path: &Path, authority: &str) -> Result<Self, IdentityError> {
        let wrong = |found: String| IdentityError::content(path, "a certificate in PEM", found);
        let der = |pem: &str| {
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(error.to_string()))
        };
        let (own, signer) = (der(&read(path)?)?, der(authority)?);
        let parse = |der| X509Certificate::from_der(der).map_err(|error| wrong(error.to_string()));
        let ((_, parsed), (_, signer)) = (parse(&own)?, parse(&signer)?);
        let text = |mut values: Vec<Option<&str>>| values.pop().flatten().unwrap_or_default().to_owned();
        let subject = parsed.subject();
        let names = parsed.subject_alternative_name().map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            name: text(subject.iter_common_name().map(|name| name.as_str().ok()).collect()),
            organization: text(subject.iter_organization().map(|name| name.as_str().ok()).collect()),
            hosts: names.iter().flat_map(|names| &names.value.general_names).filter_map(host).collect(),
            expires: parsed.validity().not_after.timestamp(),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            signed: parsed.verify_signature(Some(signer.public_key())).is_ok(),
        })
    }

    /// Whether the certificate is for this name, role and list of hosts.
    pub(super) fn names(&self, name: &str, organization: &str, hosts: &[String]) -> bool {
        self.name == name
            && self.organization == organization
            && hosts.iter().all(|host| self.hosts.contains(host))
    }

    /// Whether the certificate remains valid long enough. Short-lived certificates are renewed in their last third.
    pub(super) fn lasts(&self, days: u32) -> bool {
        let third = Duration::hours(8 * i64::from(days));
        let left = self.expires - OffsetDateTime::now_utc().unix_timestamp();
        left > third.min(Duration::days(RENEW_WITHIN_DAYS)).whole_seconds()
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::from(bytes).to_string());
            let six = <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::from(bytes).to_string());
            four.or(six).ok()
        }
        _ => None,
    }
}
