//! A certificate authority in a folder, for clusters that have no authority of their own: the core of the command
//! `certs`.

mod certificate;
mod files;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::DnsName;

use self::certificate::{Shown, authority_params, params};
use self::files::{Secrecy, make_folder, read, write};
use crate::error::IdentityError;
use crate::folder::{CA, CERTIFICATE, Folder, KEY, TOKEN, TOKENS};
use crate::principal::{Role, check_name};
use crate::tokens::{Entry, Token, entries, text};

const AUTHORITY: &str = "ca";
const AUTHORITY_KEY: &str = "ca-key.pem";
const COORDINATOR: &str = "coordinator";

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

#[cfg(test)]
mod tests;
