//! What a folder of credentials holds, and whether it is renewed.

use rustix::fs::FileType;

use super::certificate::{Shown, Terms};
use super::private_folder::PrivateFolder;
use super::{AUTHORITY, Authority, COORDINATOR, Left};
use crate::error::IdentityError;
use crate::folder::{CA, CERTIFICATE, KEY, TOKEN};
use crate::principal::{Role, check_name};
use crate::tokens::{Entry, Token};

/// What a folder holds, and the terms on which its certificate is issued.
pub(super) struct Holding {
    pub(super) terms: Terms,
    /// `None` if it is still to be created.
    pub(super) folder: Option<PrivateFolder>,
    pub(super) shown: Option<Shown>,
    key: Option<String>,
    ca: Option<String>,
    token: Token,
    /// Whether the token is still to be written.
    new_token: bool,
}

/// A principal's folder.
pub(super) struct Holder {
    pub(super) role: Role,
    pub(super) holding: Holding,
}

impl Holder {
    /// Its entry in `tokens.toml`.
    pub(super) fn entry(&self) -> Entry {
        let hash = self.holding.token.hash().to_hex().to_string();
        Entry { name: self.holding.terms.name.clone(), role: self.role, hash }
    }
}

impl Holding {
    /// Reads a folder. A file whose content cannot be used is an error if `strict`, and otherwise as good as missing.
    fn read(
        terms: Terms,
        folder: Option<PrivateFolder>,
        authority: &str,
        strict: bool,
    ) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let text = folder.as_ref().map_or(Ok(None), |folder| folder.read(name));
            usable(text, strict)
        };
        let parse =
            |folder: &PrivateFolder, pem: &str| Shown::read(pem, &folder.file(CERTIFICATE), authority);
        let shown = match (&folder, read(CERTIFICATE)?) {
            (Some(folder), Some(pem)) => usable(parse(folder, &pem).map(Some), strict)?,
            _ => None,
        };
        let held = match (&folder, read(TOKEN)?) {
            (Some(folder), Some(text)) => {
                usable(Token::in_file(&text, &folder.file(TOKEN)).map(Some), strict)?
            }
            _ => None,
        };
        let (key, ca, new_token) = (read(KEY)?, read(CA)?, held.is_none());
        let token = held.map_or_else(Token::random, Ok)?;
        Ok(Self { terms, folder, shown, key, ca, token, new_token })
    }

    /// Whether certificate, key and authority are as they should be.
    pub(super) fn is_good(&self, authority: &str) -> bool {
        let key = self.key.as_deref().unwrap_or_default();
        self.ca.as_deref() == Some(authority)
            && self.shown.as_ref().is_some_and(|shown| shown.meets(&self.terms, key))
    }

    /// The token that is to be written; `None` if the folder has one.
    pub(super) fn new_token(&self) -> Option<&Token> {
        self.new_token.then_some(&self.token)
    }
}

fn usable<T>(read: Result<Option<T>, IdentityError>, strict: bool) -> Result<Option<T>, IdentityError> {
    match read {
        Err(IdentityError::Content { .. }) if !strict => Ok(None),
        read => read,
    }
}

impl Authority {
    /// A folder that the caller asks for. Whatever is there is replaced if it does not fit.
    pub(super) fn asked(&self, terms: Terms) -> Result<Holding, IdentityError> {
        let folder = self.root.folder(&terms.name)?;
        Holding::read(terms, folder, &self.certificate, false)
    }

    /// The folder of a name that the caller does not ask for but that has a role in the record; `None` if it is gone.
    pub(super) fn recorded(&self, terms: Terms) -> Result<Option<Holding>, Left> {
        let name = terms.name.clone();
        let refused = |reason: String| self.left(&name, reason, true);
        let folder = self.root.folder(&name).map_err(|error| refused(error.to_string()))?;
        let Some(folder) = folder else { return Ok(None) };
        if folder.kind(CERTIFICATE).is_none() {
            let option = terms.organization;
            let reason = format!("it has no certificate; --{option} {name} makes a new one");
            return Err(self.left(&name, reason, false));
        }
        // The certificates of the authority before this one prove nothing, but their holders have to get new ones.
        let replaced = self.record.authority != self.digest;
        let holding = Holding::read(terms, Some(folder), &self.certificate, !replaced)
            .map_err(|error| refused(error.to_string()))?;
        let foreign = holding.shown.as_ref().and_then(|shown| shown.foreign(&holding.terms));
        match foreign {
            Some(reason) if !replaced => Err(refused(reason)),
            _ => Ok(Some(holding)),
        }
    }

    /// A folder with a certificate whose name has no role in the record; `None` if `name` is something else.
    pub(super) fn unrecorded(&self, name: &str) -> Option<Left> {
        if check_name(name).is_err() || [AUTHORITY, COORDINATOR].contains(&name) {
            return None;
        }
        let certified = match self.root.kind(name)? {
            FileType::Directory => self.root.folder(name).ok()??.kind(CERTIFICATE).is_some(),
            kind => kind == FileType::Symlink,
        };
        let reason = "this authority has recorded no role for this name; to renew it, give the name once with the role that \
                      it has: --admin, --user or --worker";
        certified.then(|| self.left(name, reason.into(), false))
    }

    pub(super) fn left(&self, name: &str, reason: String, refused: bool) -> Left {
        Left { path: self.root.file(name), reason, refused }
    }
}
