//! A certificate authority in a folder, for clusters that have no authority of their own: the core of the command
//! `certs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyPair};

use crate::error::IdentityError;
use crate::folder::{CA, CERTIFICATE, KEY, TOKEN, TOKENS};
use crate::principal::{Role, check_name};
use crate::tokens::{Entry, entries, refuse_equal, text};

mod certificate;
mod equal_tokens;
mod holder;
mod private_folder;
mod record;

use certificate::{Shown, Terms, authority_params, sound_host};
use holder::{Holder, Holding};
pub use private_folder::Tightened;
use private_folder::{PrivateFolder, Secrecy};
use record::{RECORD, Record};

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

/// A folder that was left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The folder.
    pub path: PathBuf,
    /// Why, and what can be done.
    pub reason: String,
    /// Whether its content contradicts the authority's record, or could not be replaced. It is false for a folder that is
    /// none of the authority's business.
    pub refused: bool,
}

/// What [`provide`] did.
#[derive(Clone, Debug, Default)]
pub struct Provided {
    /// What was created.
    pub issued: Vec<Issued>,
    /// What was accessible to others until now.
    pub tightened: Vec<Tightened>,
    /// What was left as it is.
    pub left: Vec<Left>,
}

/// A certificate authority, and the folder with the folders of the names that it has issued credentials to.
struct Authority {
    root: PrivateFolder,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    /// BLAKE3 of its public key.
    digest: String,
    /// The private key in PEM while it has not been written yet.
    unwritten: Option<String>,
    record: Record,
}

/// What is to be done, found out before anything is written.
struct Plan {
    coordinator: Holding,
    holders: Vec<Holder>,
    /// The entries of `tokens.toml` now; `None` if there is no such file.
    listed: Option<Vec<Entry>>,
}

fn library(error: rcgen::Error) -> IdentityError {
    IdentityError::System(error.to_string())
}

/// Creates an authority in the folder `root` if there is none, and missing credentials for the coordinator and for
/// `wanted`. Replaces credentials that expire soon or no longer fit, for these and for every name that has a role in the
/// authority's record and, in its folder, a certificate that the authority signed for this name and role. After the
/// authority was replaced, the record alone counts. All other folders are left unchanged.
///
/// # Errors
/// If a name is invalid, two entries of `tokens.toml` have the same token, the files of the authority or of the
/// coordinator cannot be read or written. In the first two cases nothing was written.
pub fn provide(root: &Path, wanted: &Wanted) -> Result<Provided, IdentityError> {
    let mut provided = Provided::default();
    let mut authority = Authority::open(root)?;
    let plan = authority.plan(wanted, &mut provided)?;
    authority.carry_out(plan, &mut provided)?;
    Ok(provided)
}

impl Authority {
    /// Opens the authority in a folder. If there is none, it is created, but not written yet.
    fn open(root: &Path) -> Result<Self, IdentityError> {
        let root = PrivateFolder::create(root)?;
        let folder = root.folder(AUTHORITY)?;
        let read = |name| folder.as_ref().map_or(Ok(None), |folder| folder.read(name));
        let record = folder.as_ref().map(Record::read).transpose()?.flatten().unwrap_or_default();
        // A key without a certificate is left from an interrupted creation. It has signed nothing yet, so it can be
        // replaced.
        let (certificate, pair, unwritten) = match read(CA)? {
            Some(certificate) => (certificate, kept_key(&root, read(AUTHORITY_KEY)?)?, None),
            None => {
                let pair = KeyPair::generate().map_err(library)?;
                let made = authority_params()?.self_signed(&pair).map_err(library)?;
                let key = pair.serialize_pem();
                (made.pem(), pair, Some(key))
            }
        };
        let digest = blake3::hash(pair.public_key_raw()).to_hex().to_string();
        let issuer = Issuer::from_ca_cert_pem(&certificate, pair).map_err(|error| {
            IdentityError::content(&root.file(AUTHORITY).join(CA), "a certificate in PEM", error)
        })?;
        Ok(Self { root, certificate, issuer, digest, unwritten, record })
    }

    /// Reads everything that matters.
    fn plan(&mut self, wanted: &Wanted, provided: &mut Provided) -> Result<Plan, IdentityError> {
        let asked = asked(wanted)?;
        let hosts = wanted.hosts.iter().map(|host| sound_host(host)).collect::<Result<Vec<_>, _>>()?;
        let coordinator = self.coordinator(hosts, wanted.days)?;
        let listed = coordinator.folder.as_ref().map(listed).transpose()?.flatten();
        let mut holders = Vec::new();
        for (name, role) in &asked {
            let terms = Terms::of_principal(name, *role, wanted.days);
            holders.push(Holder { role: *role, holding: self.asked(terms)? });
        }
        for (name, role) in &self.record.roles {
            if !asked.contains_key(name) {
                match self.recorded(Terms::of_principal(name, *role, wanted.days)) {
                    Ok(holding) => holders.extend(holding.map(|holding| Holder { role: *role, holding })),
                    Err(left) => provided.left.push(left),
                }
            }
        }
        for name in self.root.names()? {
            if !asked.contains_key(&name) && !self.record.roles.contains_key(&name) {
                provided.left.extend(self.unrecorded(&name));
            }
        }
        let (holders, left) = self.with_own_tokens(listed.as_deref().unwrap_or_default(), holders);
        provided.left.extend(left);
        refuse_equal(&self.listing(listed.as_deref(), &holders)).map_err(IdentityError::EqualTokens)?;
        self.record.roles.extend(asked);
        self.record.hosts.clone_from(&coordinator.terms.hosts);
        Ok(Plan { coordinator, holders, listed })
    }

    /// What the coordinator has and needs. Hosts that were given once are kept.
    fn coordinator(&self, hosts: Vec<String>, days: u32) -> Result<Holding, IdentityError> {
        let mut holding = self.asked(Terms::of_coordinator(hosts, days))?;
        let mut hosts = std::mem::take(&mut holding.terms.hosts);
        hosts.extend_from_slice(&self.record.hosts);
        // An authority of an earlier version has no record, but its signature proves that it knew these hosts.
        let proved = |shown: &&Shown| self.record.hosts.is_empty() && shown.foreign(&holding.terms).is_none();
        hosts.extend(holding.shown.iter().filter(proved).flat_map(|shown| shown.hosts.clone()));
        holding.terms = Terms::of_coordinator(hosts, days);
        Ok(holding)
    }

    /// The entries of `tokens.toml` with those of the holders, which replace others of the same names.
    fn listing(&self, listed: Option<&[Entry]>, holders: &[Holder]) -> Vec<Entry> {
        let mut listed = listed.unwrap_or_default().to_vec();
        for entry in holders.iter().map(Holder::entry) {
            listed.retain(|old| old.name != entry.name || old.role == entry.role);
            if !listed.contains(&entry) {
                listed.retain(|old| old.name != entry.name);
                listed.push(entry);
            }
        }
        listed
    }

    fn carry_out(&mut self, plan: Plan, provided: &mut Provided) -> Result<(), IdentityError> {
        let Plan { coordinator, holders, listed } = plan;
        provided.tightened.extend(self.root.tighten(&[])?);
        let folder = self.root.make(AUTHORITY)?;
        if let Some(key) = self.unwritten.take() {
            folder.write(AUTHORITY_KEY, &key, Secrecy::Private)?;
            // Written last, because an existing certificate marks the authority as complete.
            folder.write(CA, &self.certificate, Secrecy::Public)?;
            provided.issued.push(Issued::Authority(folder.file(CA)));
        }
        provided.tightened.extend(folder.tighten(&[AUTHORITY_KEY, RECORD])?);
        // Before the certificates, so that none can be there without its role.
        self.record.write(&folder)?;
        let coordinator = self.supply(&coordinator, provided)?;
        let mut supplied = Vec::new();
        for holder in holders {
            match self.supply_with_token(&holder, provided) {
                Ok(()) => supplied.push(holder),
                // One holder that hinders the writing to its folder must not keep the others from theirs.
                Err(error) => {
                    provided.left.push(self.left(&holder.holding.terms.name, error.to_string(), true))
                }
            }
        }
        let listing = self.listing(listed.as_deref(), &supplied);
        // Written even if there are no tokens, so that it can be mounted and watched.
        if listed.as_ref() != Some(&listing) {
            coordinator.write(TOKENS, &text(listing)?, Secrecy::Private)?;
        }
        provided.tightened.extend(coordinator.tighten(&[KEY, TOKENS])?);
        if self.record.authority != self.digest {
            self.record.authority.clone_from(&self.digest);
            self.record.write(&folder)?;
        }
        Ok(())
    }

    /// Issues a certificate for a folder, unless the existing one is good.
    fn supply(&self, holding: &Holding, provided: &mut Provided) -> Result<PrivateFolder, IdentityError> {
        let terms = &holding.terms;
        let folder = self.root.make(&terms.name)?;
        if !holding.is_good(&self.certificate) {
            let pair = KeyPair::generate().map_err(library)?;
            let made = terms.params()?.signed_by(&pair, &self.issuer).map_err(library)?;
            folder.write(KEY, &pair.serialize_pem(), Secrecy::Private)?;
            folder.write(CERTIFICATE, &made.pem(), Secrecy::Public)?;
            folder.write(CA, &self.certificate, Secrecy::Public)?;
            provided.issued.push(Issued::Certificate(folder.file(CERTIFICATE)));
        }
        Ok(folder)
    }

    /// Issues certificate and token of a holder, unless it has good ones.
    fn supply_with_token(&self, holder: &Holder, provided: &mut Provided) -> Result<(), IdentityError> {
        let folder = self.supply(&holder.holding, provided)?;
        if let Some(token) = holder.holding.new_token() {
            folder.write(TOKEN, &format!("{}\n", token.secret()), Secrecy::Private)?;
            provided.issued.push(Issued::Token(folder.file(TOKEN)));
        }
        provided.tightened.extend(folder.tighten(&[KEY, TOKEN])?);
        Ok(())
    }
}

/// The key of an existing authority.
fn kept_key(root: &PrivateFolder, pem: Option<String>) -> Result<KeyPair, IdentityError> {
    let path = root.file(AUTHORITY).join(AUTHORITY_KEY);
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let pem = pem.ok_or_else(|| IdentityError::Read { path: path.clone(), source: missing() })?;
    KeyPair::from_pem(&pem).map_err(|error| IdentityError::content(&path, "a private key in PEM", error))
}

/// The roles that the caller asks for, by name.
fn asked(wanted: &Wanted) -> Result<BTreeMap<String, Role>, IdentityError> {
    let mut asked = BTreeMap::new();
    for (role, name) in &wanted.identities {
        check_name(name)?;
        let taken = [AUTHORITY, COORDINATOR].contains(&name.as_str());
        if taken || asked.insert(name.clone(), *role).is_some() {
            return Err(IdentityError::NameTaken(name.clone()));
        }
    }
    Ok(asked)
}

/// The entries of the coordinator's list of tokens; `None` if there is none.
fn listed(folder: &PrivateFolder) -> Result<Option<Vec<Entry>>, IdentityError> {
    let wrong = |error: String| IdentityError::content(&folder.file(TOKENS), "a list of tokens", error);
    folder.read(TOKENS)?.map(|text| entries(&text).map_err(wrong)).transpose()
}

#[cfg(test)]
mod tests;
