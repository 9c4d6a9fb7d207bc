//! Permissions of folders and files with secrets, whatever the umask.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use tempfile::TempDir;

/// Starts a program that would let everybody write what it creates.
fn start_generous(program: &str, args: &[&str], folder: &Path, name: &str) -> Process {
    let script = "umask 000; exec \"$0\" \"$@\"";
    Process::start("/bin/sh", &[&["-c", script, program], args].concat(), folder, name)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Folder by folder what others may reach below `root`, certificates left out.
fn open_to_others(root: &Path) -> Vec<PathBuf> {
    let folders = entries(root);
    let files = folders.iter().flat_map(|folder| entries(folder));
    let secret =
        files.filter(|file| !["cert.pem", "ca.pem"].contains(&file.file_name().unwrap().to_str().unwrap()));
    let all = std::iter::once(root.to_owned()).chain(folders.iter().cloned()).chain(secret);
    all.filter(|path| mode(path) & 0o077 != 0).collect()
}

#[tokio::test]
async fn what_certs_makes_is_for_its_owner_only() {
    let scratch = TempDir::new().unwrap();
    let args = ["certs", "credentials", "--admin", "admin", "--worker", "worker"];
    let mut program = start_generous(programs::lookbehind(), &args, scratch.path(), "certs");
    assert_eq!(program.exit().await, 0, "{}", program.stderr());
    assert_eq!(open_to_others(&scratch.path().join("credentials")), Vec::<PathBuf>::new());
    for folder in entries(&scratch.path().join("credentials")) {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
}

#[tokio::test]
async fn what_was_open_to_others_is_closed_and_told() {
    let scratch = TempDir::new().unwrap();
    let root = scratch.path().join("credentials");
    let args = ["certs", "credentials", "--worker", "worker"];
    let mut first = Process::start(programs::lookbehind(), &args, scratch.path(), "first");
    assert_eq!(first.exit().await, 0, "{}", first.stderr());
    let wide = ["worker", "ca", "worker/key.pem", "coordinator/tokens.toml"];
    for name in wide {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o777)).unwrap();
    }
    let mut second = Process::start(programs::lookbehind(), &args[..2], scratch.path(), "second");
    assert_eq!(second.exit().await, 0, "{}", second.stderr());
    assert_eq!(open_to_others(&root), Vec::<PathBuf>::new());
    for name in wide {
        let told = format!("credentials/{name}: others had access (permissions 0777)");
        assert!(second.stderr().contains(&told), "{name}: {}", second.stderr());
    }
}

#[tokio::test]
async fn the_state_is_for_the_coordinator_only() {
    let scratch = TempDir::new().unwrap();
    let state = scratch.path().join("state");
    let args = ["--listen", "127.0.0.1:0", "--http", "off", "--state", "state"];
    let mut first = start_generous(programs::coordinator(), &args, scratch.path(), "first");
    first.logged("coordinator listens").await;
    assert_eq!(mode(&state), 0o700);
    first.kill().await;
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    let mut second = Process::start(programs::coordinator(), &args, scratch.path(), "second");
    let told = second.logged("others had access to the state folder; now it is 0700").await;
    assert!(told.contains("0755"), "{told}");
    second.logged("coordinator listens").await;
    assert_eq!(mode(&state), 0o700);
    second.kill().await;
    fs::set_permissions(&state, Permissions::from_mode(0o1777)).unwrap();
    let mut shared = Process::start(programs::coordinator(), &args, scratch.path(), "shared");
    assert_eq!(shared.exit().await, 78, "{}", shared.stderr());
    assert!(shared.stderr().contains("one that everybody shares"), "{}", shared.stderr());
}
