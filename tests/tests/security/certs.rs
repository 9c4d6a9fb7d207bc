//! `certs`, run again over folders into which their holders have written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lookbehind_identity::{Folder, Role, Token};
use lookbehind_proto::v1;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::guarded::client;
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use tempfile::TempDir;
use tonic::{Code, Status};

/// A folder for `certs`.
struct Credentials(TempDir);

impl Credentials {
    /// Runs `certs` on a new folder, which must succeed.
    async fn new(args: &[&str]) -> Self {
        let credentials = Self(TempDir::with_prefix("lookbehind-certs-").unwrap());
        let (code, told) = credentials.certs(args).await;
        assert_eq!(code, 0, "{told}");
        credentials
    }

    /// Runs `certs`; returns its exit code and what it says on standard error.
    async fn certs(&self, args: &[&str]) -> (i32, String) {
        let root = self.folder("");
        let args = [&["certs", root.to_str().unwrap()], args].concat();
        let output = TempDir::with_prefix("lookbehind-output-").unwrap();
        let mut program = Process::start(programs::lookbehind(), &args, output.path(), "certs");
        (program.exit().await, program.stderr())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Copies the certificate and key of a folder into another, as the holder of `to` can.
    fn plant(&self, from: &Path, to: &str) {
        for file in ["cert.pem", "key.pem"] {
            fs::copy(from.join(file), self.folder(to).join(file)).unwrap();
        }
    }

    /// A folder with the token of a name, and no certificate.
    fn by_token(&self, name: &str) -> TempDir {
        let folder = TempDir::with_prefix("lookbehind-token-").unwrap();
        fs::copy(self.folder("coordinator").join("ca.pem"), folder.path().join("ca.pem")).unwrap();
        fs::copy(self.folder(name).join("token"), folder.path().join("token")).unwrap();
        folder
    }

    /// Role of the holder of a token, according to the coordinator's list.
    fn role(&self, token: &Token) -> Option<Role> {
        let tokens = Folder::new(self.folder("coordinator")).tokens().unwrap();
        tokens.holder(token).map(|holder| holder.role)
    }

    fn token(&self, name: &str) -> Token {
        Folder::new(self.folder(name)).token().unwrap().unwrap()
    }

    async fn cluster(&self, admin: &str) -> Cluster {
        let coordinator = self.folder("coordinator");
        Cluster::guarded(&self.folder(admin), |config| config.credentials = Some(coordinator)).await
    }

    /// Content of all files.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let folders = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
        files.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

/// Makes a call that only users and admins may make.
async fn list(url: &str, folder: &Path) -> Result<(), Status> {
    client(url, folder).jobs().list_jobs(v1::ListJobsRequest::default()).await.map(drop)
}

/// Runs `certs` without names, then for one more user, and waits until the coordinator has read what they wrote.
async fn certs_and_in_force(credentials: &Credentials, url: &str) -> String {
    let (_, told) = credentials.certs(&[]).await;
    let (_, again) = credentials.certs(&["--user", "late"]).await;
    let late = credentials.by_token("late");
    within("the new tokens to be in force", async {
        while list(url, late.path()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    told + &again
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_plants_an_admins_certificate_stays_a_worker() {
    let credentials = Credentials::new(&["--admin", "admin", "--worker", "gpu-1"]).await;
    let cluster = credentials.cluster("admin").await;
    let own = Credentials::new(&["--admin", "gpu-1"]).await;
    credentials.plant(&own.folder("gpu-1"), "gpu-1");
    let told = certs_and_in_force(&credentials, cluster.url()).await;
    let status =
        list(cluster.url(), credentials.by_token("gpu-1").path()).await.expect_err("a worker's token");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    list(cluster.url(), &credentials.folder("gpu-1"))
        .await
        .expect_err("its certificate is of no authority here");
    assert!(told.contains("gpu-1: not renewed: its certificate was not signed by this authority"), "{told}");
    // The administrator replaces what was planted.
    let (code, told) = credentials.certs(&["--worker", "gpu-1"]).await;
    assert_eq!((code, told.as_str()), (0, ""));
    let status = list(cluster.url(), &credentials.folder("gpu-1")).await.expect_err("a worker");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_of_an_earlier_role_does_not_bring_it_back() {
    let credentials = Credentials::new(&["--admin", "admin", "--admin", "gpu-1"]).await;
    let cluster = credentials.cluster("admin").await;
    let kept = TempDir::with_prefix("lookbehind-kept-").unwrap();
    for file in ["cert.pem", "key.pem"] {
        fs::copy(credentials.folder("gpu-1").join(file), kept.path().join(file)).unwrap();
    }
    credentials.certs(&["--worker", "gpu-1"]).await;
    credentials.plant(kept.path(), "gpu-1");
    let told = certs_and_in_force(&credentials, cluster.url()).await;
    let status =
        list(cluster.url(), credentials.by_token("gpu-1").path()).await.expect_err("a worker's token");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(told.contains("states the role \"admin\", not \"worker\""), "{told}");
}

#[tokio::test]
async fn the_certificate_of_another_name_is_told_and_not_renewed() {
    let credentials = Credentials::new(&["--admin", "admin", "--worker", "worker"]).await;
    fs::copy(credentials.folder("admin").join("cert.pem"), credentials.folder("worker").join("cert.pem"))
        .unwrap();
    let before = credentials.content();
    let (code, told) = credentials.certs(&[]).await;
    assert_eq!(code, 5, "{told}");
    assert!(told.contains("worker: not renewed: its certificate states the name \"admin\""), "{told}");
    assert_eq!(credentials.content(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_link_to_anothers_token_is_not_followed() {
    let credentials = Credentials::new(&["--admin", "admin", "--worker", "worker"]).await;
    let token = credentials.folder("worker").join("token");
    fs::remove_file(&token).unwrap();
    symlink("../admin/token", &token).unwrap();
    let (code, told) = credentials.certs(&[]).await;
    assert!(told.contains("worker/token") && told.contains("a symbolic link"), "{told}");
    assert_eq!(code, 5);
    let (code, _) = credentials.certs(&["--worker", "worker"]).await;
    assert_eq!(code, 0, "the worker's link is replaced by a token of its own");
    assert!(credentials.token("worker") != credentials.token("admin"));
    assert_eq!(credentials.role(&credentials.token("admin")), Some(Role::Admin));
    assert_eq!(credentials.role(&credentials.token("worker")), Some(Role::Worker));
    list(credentials.cluster("admin").await.url(), &credentials.folder("admin")).await.expect("it starts");
}

#[tokio::test]
async fn nothing_is_written_through_a_folder_that_is_a_link() {
    let credentials = Credentials::new(&["--admin", "admin"]).await;
    symlink("admin", credentials.folder("worker")).unwrap();
    let before = credentials.content();
    let (code, told) = credentials.certs(&["--worker", "worker"]).await;
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("worker: expected a folder, found a symbolic link"), "{told}");
    assert_eq!(credentials.content(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_token_of_another_is_told_and_hinders_nobody() {
    let workers = ["--admin", "admin", "--worker", "w1", "--worker", "w2"];
    let credentials = Credentials::new(&workers).await;
    fs::copy(credentials.folder("w1").join("token"), credentials.folder("w2").join("token")).unwrap();
    let before = credentials.content();
    for args in [&[][..], &workers] {
        let (code, told) = credentials.certs(args).await;
        assert_eq!(code, 5, "{told}");
        assert!(told.contains("w2: not renewed") && told.contains("that of \"w1\""), "{told}");
        assert!(!told.contains("w1: not renewed"), "{told}");
        assert!(credentials.content() == before, "{args:?}: something was written");
    }
    let (code, told) = credentials.certs(&["--user", "alice"]).await;
    assert_eq!(code, 5, "{told}");
    let cluster = credentials.cluster("admin").await;
    for name in ["admin", "alice"] {
        list(cluster.url(), &credentials.folder(name)).await.expect(name);
    }
}

#[tokio::test]
async fn without_names_there_is_a_coordinator_and_no_one_else() {
    let credentials = Credentials::new(&[]).await;
    let names = fs::read_dir(credentials.folder("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["ca", "coordinator"]);
    assert!(Folder::new(credentials.folder("coordinator")).tokens().unwrap().is_empty());
}

/// The options of a coordinator.
fn options<'a>(credentials: &'a str, state: &'a str) -> [&'a str; 8] {
    ["--listen", "127.0.0.1:0", "--http", "off", "--state", state, "--credentials", credentials]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_hashes_end_a_start_with_both_names_and_do_not_count_at_a_renewal() {
    let credentials = Credentials::new(&["--user", "alice", "--user", "bob"]).await;
    let scratch = TempDir::with_prefix("lookbehind-coordinator-").unwrap();
    let folder = credentials.folder("coordinator");
    let options = options(folder.to_str().unwrap(), "state");
    let mut running = Process::start(programs::coordinator(), &options, scratch.path(), "running");
    let listens = running.logged("coordinator listens address=").await;
    let url = format!("https://{}", listens.split_whitespace().next().unwrap());
    let hash = |name| credentials.token(name).hash().to_hex().to_string();
    let listed = fs::read_to_string(folder.join("tokens.toml")).unwrap();
    fs::write(folder.join("tokens.toml"), listed.replace(&hash("bob"), &hash("alice"))).unwrap();
    let why = running.logged("credentials changed and cannot be used: the old ones stay").await;
    assert!(why.contains("alice") && why.contains("bob"), "{why}");
    for name in ["alice", "bob"] {
        list(&url, credentials.by_token(name).path()).await.expect("the old tokens stay in force");
    }
    running.kill().await;
    let mut again = Process::start(programs::coordinator(), &options, scratch.path(), "again");
    assert_eq!(again.exit().await, 78);
    let why = again.stderr();
    assert!(why.contains("tokens.toml") && why.contains("alice") && why.contains("bob"), "{why}");
}
