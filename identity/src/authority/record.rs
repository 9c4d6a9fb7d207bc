//! The authority's own record of what it issued. It is in the authority's folder, which no holder of credentials can
//! write: the content of a holder's folder is no evidence of a role.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::private_folder::{PrivateFolder, Secrecy};
use crate::error::IdentityError;
use crate::principal::{Role, check_name};

/// Name of the file.
pub(super) const RECORD: &str = "issued.toml";
const HEAD: &str = "# What this authority issued: the coordinator's hosts, and the role of each name. Others are not renewed.\n";

/// What an authority issued.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// BLAKE3 of the public key of the authority that signed all certificates. It differs from the present one after the
    /// authority was replaced, until each name has its new certificate.
    pub(super) authority: String,
    /// Names and addresses in the coordinator's certificate.
    pub(super) hosts: Vec<String>,
    /// The role of each name.
    pub(super) roles: BTreeMap<String, Role>,
}

impl Record {
    /// Reads the record in the folder of an authority; `None` if there is none.
    pub(super) fn read(folder: &PrivateFolder) -> Result<Option<Self>, IdentityError> {
        let Some(text) = folder.read(RECORD)? else { return Ok(None) };
        let unsound = |found: String| {
            IdentityError::content(&folder.file(RECORD), "authority, hosts and roles of names", found)
        };
        let record: Self = toml::from_str(&text).map_err(|error| unsound(error.message().to_owned()))?;
        record
            .roles
            .keys()
            .try_for_each(|name| check_name(name))
            .map_err(|error| unsound(error.to_string()))?;
        Ok(Some(record))
    }

    /// Writes the record.
    pub(super) fn write(&self, folder: &PrivateFolder) -> Result<(), IdentityError> {
        let body = toml::to_string(self).map_err(|error| IdentityError::System(error.to_string()))?;
        folder.write(RECORD, &format!("{HEAD}{body}"), Secrecy::Private)
    }
}
