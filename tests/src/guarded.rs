//! A cluster that requires credentials: certificates and tokens of an authority of the test's own.

use std::path::{Path, PathBuf};

use lookbehind_identity::{Access, Folder, Role, Wanted};
use tempfile::TempDir;

use crate::client::Client;
use crate::cluster::Cluster;

/// Credentials of a coordinator, an admin, two users and workers.
pub struct Credentials(TempDir);

impl Credentials {
    /// Creates them with a new authority.
    pub fn new() -> Self {
        Self::lasting(365)
    }

    /// Creates them with certificates that expire after `days` days; 0 means that they expire immediately.
    ///
    /// # Panics
    /// If they cannot be created.
    pub fn lasting(days: u32) -> Self {
        let credentials = Self(TempDir::with_prefix("lookbehind-credentials-").expect("a folder"));
        credentials.provide(days);
        credentials
    }

    /// Creates what is missing, and renews what expires soon.
    ///
    /// # Panics
    /// If it cannot be created.
    pub fn provide(&self, days: u32) {
        let known = [
            (Role::Admin, "admin"),
            (Role::User, "alice"),
            (Role::User, "bob"),
            (Role::Worker, "worker"),
            (Role::Worker, "other-worker"),
        ];
        let identities = known.map(|(role, name)| (role, name.to_owned())).to_vec();
        let wanted = Wanted { hosts: Vec::new(), identities, days };
        lookbehind_identity::provide(self.0.path(), &wanted).expect("credentials");
    }

    /// Replaces a certificate by one that expires within the current second.
    ///
    /// # Panics
    /// If it cannot be created.
    pub fn expire(&self, name: &str) {
        std::fs::remove_file(self.folder(name).join("cert.pem")).expect("a certificate");
        self.provide(0);
    }

    /// Replaces the certificates of the coordinator, the admin and a worker by new ones of the same authority.
    ///
    /// # Panics
    /// If they cannot be created.
    pub fn renew(&self) {
        for name in ["coordinator", "admin", "worker"] {
            std::fs::remove_file(self.folder(name).join("cert.pem")).expect("a certificate");
        }
        self.provide(365);
    }

    /// The credentials folder of a principal.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A folder `name` with only some of the files of a principal's folder.
    ///
    /// # Panics
    /// If it cannot be created.
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
/// If address or credentials are invalid.
pub fn client(url: &str, folder: &Path) -> Client {
    let access = Access::new(url, Some(Folder::new(folder))).expect("an address");
    Client::of(&access)
}

/// A guarded cluster without workers, and its credentials.
pub async fn cluster() -> (Cluster, Credentials) {
    let credentials = Credentials::new();
    (with(&credentials).await, credentials)
}

/// A guarded cluster with existing credentials.
pub async fn with(credentials: &Credentials) -> Cluster {
    let (coordinator, admin) = (credentials.folder("coordinator"), credentials.folder("admin"));
    Cluster::guarded(&admin, |config| config.credentials = Some(coordinator)).await
}
