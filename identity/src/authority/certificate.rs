//! The certificates that an authority issues, and what it reads from existing ones.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{COORDINATOR, library};
use crate::error::IdentityError;
use crate::principal::Role;

/// Lifetime of the authority's own certificate, in days.
const AUTHORITY_DAYS: i64 = 3650;
/// A certificate that expires within this many days is renewed.
const RENEW_WITHIN_DAYS: i64 = 30;
/// Certificates are valid from this long before they are issued, because the clocks of machines differ a little.
const BACKDATED: Duration = Duration::hours(1);

/// What a certificate has to state.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) name: String,
    /// The role, or [`COORDINATOR`].
    pub(super) organization: &'static str,
    /// Names and addresses under which the holder serves.
    pub(super) hosts: Vec<String>,
    /// Lifetime in days.
    pub(super) days: u32,
}

impl Terms {
    /// The terms for a principal.
    pub(super) fn of_principal(name: &str, role: Role, days: u32) -> Self {
        // A worker serves its metrics.
        let hosts = if role == Role::Worker { own_names(name) } else { Vec::new() };
        Self { name: name.to_owned(), organization: role.name(), hosts, days }
    }

    /// The terms for the coordinator, which is reached under these hosts and on its own machine.
    pub(super) fn of_coordinator(hosts: impl IntoIterator<Item = String>, days: u32) -> Self {
        let mut hosts: Vec<String> = own_names(COORDINATOR).into_iter().chain(hosts).collect();
        hosts.sort_unstable();
        hosts.dedup();
        Self { name: COORDINATOR.to_owned(), organization: COORDINATOR, hosts, days }
    }

    /// The parameters of the certificate.
    pub(super) fn params(&self) -> Result<CertificateParams, IdentityError> {
        let mut params = CertificateParams::new(self.hosts.as_slice()).map_err(library)?;
        params.distinguished_name = subject(&self.name, self.organization);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match (self.hosts.as_slice(), self.organization) {
            ([], _) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            (_, COORDINATOR) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            _ => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        };
        lasting(&mut params, i64::from(self.days));
        Ok(params)
    }
}

/// Host names and addresses under which a process is reached on its own machine, and its own name.
fn own_names(name: &str) -> Vec<String> {
    [name, "localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
}

/// The parameters of a new authority's own certificate.
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

/// Checks a host and returns it in the form that certificates use.
pub(super) fn sound_host(host: &str) -> Result<String, IdentityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let sound = DnsName::try_from(host).is_ok();
    if sound { Ok(host.to_ascii_lowercase()) } else { Err(IdentityError::Host(host.to_owned())) }
}

/// Whether a private key belongs to the public key of a certificate.
fn fits(key: &str, public_key: &[u8]) -> bool {
    let pair = KeyPair::from_pem(key).ok();
    pair.is_some_and(|pair| pair.public_key_raw() == public_key)
}

/// The content of a certificate that decides whether it must be replaced.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) organization: String,
    pub(super) hosts: Vec<String>,
    /// Expiry, in seconds since 1970.
    expires: i64,
    public_key: Vec<u8>,
    /// Whether this authority signed it: verified with the authority's key, because everybody can write its name.
    pub(super) signed: bool,
}

impl Shown {
    /// Reads the certificate in a PEM text from the file `path`.
    pub(super) fn read(pem: &str, path: &Path, authority: &str) -> Result<Self, IdentityError> {
        let wrong = |found: String| IdentityError::content(path, "a certificate in PEM", found);
        let der = |pem: &str| {
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(error.to_string()))
        };
        let (own, signer) = (der(pem)?, der(authority)?);
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

    /// Why this is not the certificate that the authority issued on these terms; `None` if it is.
    pub(super) fn foreign(&self, terms: &Terms) -> Option<String> {
        if !self.signed {
            return Some("its certificate was not signed by this authority".into());
        }
        // What follows is what this authority signed, so it can be repeated.
        let states = |what: &str, found: &str, expected: &str| {
            (found != expected)
                .then(|| format!("its certificate states the {what} {found:?}, not {expected:?}"))
        };
        states("name", &self.name, &terms.name)
            .or_else(|| states("role", &self.organization, terms.organization))
    }

    /// Whether the certificate is good for these terms, and the key belongs to it.
    pub(super) fn meets(&self, terms: &Terms, key: &str) -> bool {
        self.foreign(terms).is_none()
            && terms.hosts.iter().all(|host| self.hosts.contains(host))
            && self.lasts(terms.days)
            && fits(key, &self.public_key)
    }

    /// Whether the certificate remains valid long enough. Short-lived certificates are renewed in their last third.
    fn lasts(&self, days: u32) -> bool {
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
