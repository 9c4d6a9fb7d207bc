//! A cluster that asks callers who they are: certificates and tokens of an authority of the test's own.

use std::path::{Path, PathBuf};

use lookbehind_identity::{Access, Authority, Folder, Role, Wanted};
use tempfile::TempDir;

use crate::client::Client;
use crate::cluster::Cluster;

/// Credentials of a coordinator, an admin, two users and workers.
pub struct Credentials(TempDir);

impl Credentials {
    /// Makes them with a new authority.
    pub fn new() -> Self {
        Self::lasting(365)
    }

    /// The same with certificates that expire after so many days; 0 means that they expire at once.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn lasting(days: u32) -> Self {
        let credentials = Self(TempDir::with_prefix("lookbehind-credentials-").expect("a folder"));
        credentials.provide(days);
        credentials
    }

    /// Makes what is missing, and anew what expires soon.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn provide(&self, days: u32) {
        let known =
            [(Role::Admin, "admin"), (Role::User, "alice"), (Role::User, "bob"), (Role::Worker, "worker")];
        let identities = known.map(|(role, name)| (role, name.to_owned())).to_vec();
        let (authority, _) = Authority::open(self.0.path()).expect("an authority");
        authority.provide(&Wanted { hosts: Vec::new(), identities, days }).expect("credentials");
    }

    /// Gives somebody a certificate that is over with the current second.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn expire(&self, name: &str) {
        std::fs::remove_file(self.folder(name).join("cert.pem")).expect("a certificate");
        self.provide(0);
    }

    /// The folder of somebody.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Somebody's folder with only some of its files, as `name`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn only(&self, of: &str, files: &[&str], name: &str) -> PathBuf {
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for file in files {
            std::fs::copy(self.folder(of).join(file), folder.join(file)).expect("a copy");
        }
        folder
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new()
    }
}

/// A user of a guarded coordinator, with the credentials of a folder.
///
/// # Panics
/// When address or credentials make no sense.
pub fn client(url: &str, folder: &Path) -> Client {
    let access = Access::new(url, Some(Folder::new(folder))).expect("an address");
    Client::of(&access)
}

/// A guarded cluster without workers, and its credentials.
pub async fn cluster() -> (Cluster, Credentials) {
    let credentials = Credentials::new();
    (with(&credentials).await, credentials)
}

/// A guarded cluster with credentials that were made before.
pub async fn with(credentials: &Credentials) -> Cluster {
    let (coordinator, admin) = (credentials.folder("coordinator"), credentials.folder("admin"));
    Cluster::guarded(&admin, |config| config.credentials = Some(coordinator)).await
}
