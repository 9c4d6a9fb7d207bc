//! A certificate authority in a folder, for clusters that have no authority of their own: the core of the command
//! `certs`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::IdentityError;
use crate::folder::{CA, CERTIFICATE, Folder, KEY, TOKEN, TOKENS};
use crate::principal::{Role, check_name};
use crate::tokens::{Entry, Token, entries, text};

const AUTHORITY: &str = "ca";
const AUTHORITY_KEY: &str = "ca-key.pem";
const COORDINATOR: &str = "coordinator";
/// Lifetime of the authority's own certificate, in days.
const AUTHORITY_DAYS: i64 = 3650;
/// A certificate that expires within this many days is renewed.
const RENEW_WITHIN_DAYS: i64 = 30;
/// Certificates are valid from this long before they are issued, because the clocks of machines differ a little.
const BACKDATED: Duration = Duration::hours(1);

/// The credentials that a cluster needs.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names and addresses under which the coordinator is reached, in addition to `localhost` and `coordinator`.
    pub hosts: Vec<String>,
    /// Users, administrators and workers: role and name of each.
    pub identities: Vec<(Role, String)>,
    /// Lifetime of the certificates, in days.
    pub days: u32,
}

/// A file or folder that was created, with its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A new authority. It replaces every certificate that an earlier authority signed.
    Authority(PathBuf),
    /// A certificate with its private key.
    Certificate(PathBuf),
    /// A bearer token.
    Token(PathBuf),
}

/// A certificate authority, and the folders of the identities that it has issued credentials to.
pub struct Authority {
    root: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("root", &self.root).finish_non_exhaustive()
    }
}

fn library(error: rcgen::Error) -> IdentityError {
    IdentityError::System(error.to_string())
}

impl Authority {
    /// Opens the authority in a folder, or creates one there.
    ///
    /// # Errors
    /// If files cannot be read or written, or have unexpected content.
    pub fn open(root: &Path) -> Result<(Self, Vec<Issued>), IdentityError> {
        let folder = root.join(AUTHORITY);
        let (certificate, key) = (folder.join(CA), folder.join(AUTHORITY_KEY));
        let mut issued = Vec::new();
        // A key without a certificate is left from an interrupted creation. It has signed nothing yet, so it can be
        // replaced.
        if !certificate.exists() {
            make_folder(&folder)?;
            let pair = KeyPair::generate().map_err(library)?;
            let made = authority_params()?.self_signed(&pair).map_err(library)?;
            write(&key, &pair.serialize_pem(), Secrecy::Private)?;
            // Written last, because an existing certificate marks the authority as complete.
            write(&certificate, &made.pem(), Secrecy::Public)?;
            issued.push(Issued::Authority(certificate.clone()));
        }
        let pair = KeyPair::from_pem(&read(&key)?)
            .map_err(|error| IdentityError::content(&key, "a private key in PEM", error))?;
        let pem = read(&certificate)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, pair)
            .map_err(|error| IdentityError::content(&certificate, "a certificate in PEM", error))?;
        Ok((Self { root: root.to_owned(), certificate: pem, issuer }, issued))
    }

    /// Creates missing credentials, and replaces those that expire soon or no longer fit, for the identities in
    /// `wanted` and for those that already have a certificate here. Everything else is left unchanged.
    ///
    /// # Errors
    /// If a name is invalid, or files cannot be read or written.
    pub fn provide(&self, wanted: &Wanted) -> Result<Vec<Issued>, IdentityError> {
        let mut names = BTreeSet::from([AUTHORITY, COORDINATOR]);
        for (_, name) in &wanted.identities {
            check_name(name)?;
            if !names.insert(name) {
                return Err(IdentityError::NameTaken(name.clone()));
            }
        }
        let mut identities = wanted.identities.clone();
        identities.extend(self.known()?.into_iter().filter(|(_, name)| !names.contains(name.as_str())));
        let mut issued = Vec::new();
        let mut hosts = own_names(COORDINATOR);
        hosts.extend(wanted.hosts.iter().map(|host| sound_host(host)).collect::<Result<Vec<_>, _>>()?);
        // Hosts of the existing certificate are kept, even if this call does not name them.
        hosts.extend(self.shown(COORDINATOR)?.map(|shown| shown.hosts).unwrap_or_default());
        hosts.sort_unstable();
        hosts.dedup();
        issued.extend(self.certify(COORDINATOR, COORDINATOR, &hosts, wanted.days)?);
        let mut held = Vec::new();
        for (role, name) in &identities {
            let hosts = if *role == Role::Worker { own_names(name) } else { Vec::new() };
            issued.extend(self.certify(name, role.name(), &hosts, wanted.days)?);
            let (made, hash) = self.give_token(name)?;
            issued.extend(made);
            held.push(Entry { name: name.clone(), role: *role, hash });
        }
        self.list_tokens(held)?;
        Ok(issued)
    }

    /// The identities that have a certificate here.
    fn known(&self) -> Result<Vec<(Role, String)>, IdentityError> {
        let failed = |source| IdentityError::Read { path: self.root.clone(), source };
        let mut known = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            let shown = if check_name(&name).is_ok() { self.shown(&name)? } else { None };
            let role =
                shown.filter(|shown| shown.name == name).and_then(|shown| shown.organization.parse().ok());
            known.extend(role.map(|role| (role, name)));
        }
        known.sort_unstable();
        Ok(known)
    }

    /// Reads the certificate of a folder; `None` if there is none.
    fn shown(&self, name: &str) -> Result<Option<Shown>, IdentityError> {
        let path = self.root.join(name).join(CERTIFICATE);
        if path.exists() { Shown::read(&path, &self.certificate).map(Some) } else { Ok(None) }
    }

    /// Issues a certificate for a folder, unless the existing one is still good.
    fn certify(
        &self,
        name: &str,
        organization: &str,
        hosts: &[String],
        days: u32,
    ) -> Result<Option<Issued>, IdentityError> {
        let folder = self.root.join(name);
        make_folder(&folder)?;
        let (certificate, key, ca) = (folder.join(CERTIFICATE), folder.join(KEY), folder.join(CA));
        let current = ca.exists() && read(&ca)? == self.certificate;
        let shown =
            self.shown(name)?.filter(|shown| shown.names(name, organization, hosts) && shown.lasts(days));
        if current && shown.is_some_and(|shown| shown.signed && fits(&key, &shown.public_key)) {
            return Ok(None);
        }
        let pair = KeyPair::generate().map_err(library)?;
        let made =
            params(name, organization, hosts, days)?.signed_by(&pair, &self.issuer).map_err(library)?;
        write(&key, &pair.serialize_pem(), Secrecy::Private)?;
        write(&certificate, &made.pem(), Secrecy::Public)?;
        write(&ca, &self.certificate, Secrecy::Public)?;
        Ok(Some(Issued::Certificate(certificate)))
    }

    /// Issues a token unless the folder has one; returns the hash of the current token.
    fn give_token(&self, name: &str) -> Result<(Option<Issued>, String), IdentityError> {
        let folder = Folder::new(self.root.join(name));
        let hash = |token: &Token| token.hash().to_hex().to_string();
        if let Some(held) = folder.token()? {
            return Ok((None, hash(&held)));
        }
        let (path, token) = (folder.file(TOKEN), Token::random()?);
        write(&path, &format!("{}\n", token.secret()), Secrecy::Private)?;
        Ok((Some(Issued::Token(path)), hash(&token)))
    }

    /// Adds these entries to the coordinator's list of tokens and replaces entries of the same names. The file is
    /// written even if there are no tokens, so that it can be mounted and watched.
    fn list_tokens(&self, held: Vec<Entry>) -> Result<(), IdentityError> {
        let path = self.root.join(COORDINATOR).join(TOKENS);
        let wrong = |error: String| IdentityError::content(&path, "a list of tokens", error);
        let known = if path.exists() { Some(entries(&read(&path)?).map_err(wrong)?) } else { None };
        let mut listed = known.clone().unwrap_or_default();
        for entry in held {
            if !listed.contains(&entry) {
                listed.retain(|old| old.name != entry.name);
                listed.push(entry);
            }
        }
        if known.as_ref() == Some(&listed) { Ok(()) } else { write(&path, &text(listed)?, Secrecy::Private) }
    }
}

/// Host names and addresses under which a process is reached on its own machine, and its own name.
fn own_names(name: &str) -> Vec<String> {
    [name, "localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
}

fn authority_params() -> Result<CertificateParams, IdentityError> {
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

fn params(
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

/// Checks a host and returns it in the form that certificates use.
fn sound_host(host: &str) -> Result<String, IdentityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let sound = DnsName::try_from(host).is_ok();
    if sound { Ok(host.to_ascii_lowercase()) } else { Err(IdentityError::Host(host.to_owned())) }
}

/// Whether a private key belongs to the public key of a certificate.
fn fits(key: &Path, public_key: &[u8]) -> bool {
    let pair = fs::read_to_string(key).ok().and_then(|pem| KeyPair::from_pem(&pem).ok());
    pair.is_some_and(|pair| pair.public_key_raw() == public_key)
}

/// The content of a certificate that decides whether it must be replaced.
struct Shown {
    name: String,
    organization: String,
    hosts: Vec<String>,
    /// Expiry, in seconds since 1970.
    expires: i64,
    public_key: Vec<u8>,
    /// Whether this authority signed it.
    signed: bool,
}

impl Shown {
    fn read(path: &Path, authority: &str) -> Result<Self, IdentityError> {
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
    fn names(&self, name: &str, organization: &str, hosts: &[String]) -> bool {
        self.name == name
            && self.organization == organization
            && hosts.iter().all(|host| self.hosts.contains(host))
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

#[derive(Clone, Copy)]
enum Secrecy {
    Private,
    Public,
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
}

fn make_folder(path: &Path) -> Result<(), IdentityError> {
    fs::create_dir_all(path).map_err(|source| IdentityError::Write { path: path.to_owned(), source })
}

/// Writes a file atomically.
fn write(path: &Path, content: &str, secrecy: Secrecy) -> Result<(), IdentityError> {
    let mode = match secrecy {
        Secrecy::Private => 0o600,
        Secrecy::Public => 0o644,
    };
    let new = path.with_extension("new");
    let written = || {
        // `mode` applies to new files only, so a file left from an interrupted call is removed first.
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|source| IdentityError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
