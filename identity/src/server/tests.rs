use std::fs;
use std::path::Path;

use super::*;
use crate::{Role, Wanted};

fn folder(root: &Path, days: u32) -> Folder {
    let wanted = Wanted { hosts: Vec::new(), identities: vec![(Role::User, "alice".into())], days };
    crate::provide(root, &wanted).unwrap();
    Folder::new(root.join("coordinator"))
}

#[test]
fn a_key_that_does_not_fit_names_the_certificate() {
    let root = tempfile::tempdir().unwrap();
    let folder = folder(root.path(), 365);
    fs::copy(root.path().join("alice/key.pem"), folder.file(KEY)).unwrap();
    let error = GuardedServer::load(&folder).unwrap_err().to_string();
    assert!(error.contains("cert.pem: expected a certificate that fits key.pem"), "{error}");
}

#[test]
fn a_file_without_an_end_is_not_read_for_ever() {
    let root = tempfile::tempdir().unwrap();
    let folder = folder(root.path(), 365);
    fs::remove_file(folder.file(TOKENS)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.file(TOKENS)).unwrap();
    let error = GuardedServer::load(&folder).unwrap_err().to_string();
    assert!(error.contains("tokens.toml: expected at most 1 MiB, found more"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = folder(root.path(), 365);
    fs::remove_file(folder.file(KEY)).unwrap();
    let error = GuardedServer::load(&folder).unwrap_err().to_string();
    assert!(error.contains("key.pem: cannot be read"), "{error}");
}

#[test]
fn a_server_that_could_authenticate_no_caller_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = folder(root.path(), 365);
    fs::remove_file(folder.file(CA)).unwrap();
    fs::remove_file(folder.file(TOKENS)).unwrap();
    let error = GuardedServer::load(&folder).unwrap_err().to_string();
    assert!(error.contains("no caller could be authenticated"), "{error}");
}

#[test]
fn new_files_count_and_unusable_ones_leave_the_old_in_force() {
    let root = tempfile::tempdir().unwrap();
    let folder = folder(root.path(), 365);
    let mut watched = Watched::guarded(folder.clone()).unwrap();
    let mut newest = watched.subscribe();
    watched.look();
    assert!(!newest.has_changed().unwrap(), "nothing has changed");
    let tokens = fs::read_to_string(folder.file(TOKENS)).unwrap();
    fs::write(folder.file(TOKENS), "nonsense").unwrap();
    watched.look();
    watched.look();
    assert!(!newest.has_changed().unwrap(), "nonsense is not taken");
    fs::write(folder.file(TOKENS), format!("{tokens}\n")).unwrap();
    watched.look();
    watched.look();
    assert!(newest.has_changed().unwrap());
    assert!(!newest.borrow_and_update().tokens.is_empty());
}

#[test]
fn a_file_that_is_being_written_is_not_taken_half() {
    let root = tempfile::tempdir().unwrap();
    let folder = folder(root.path(), 365);
    let mut watched = Watched::guarded(folder.clone()).unwrap();
    let newest = watched.subscribe();
    let tokens = fs::read_to_string(folder.file(TOKENS)).unwrap();
    for content in ["", "# The beginning of a list\n", &format!("{tokens}# more\n")] {
        fs::write(folder.file(TOKENS), content).unwrap();
        watched.look();
        assert!(!newest.has_changed().unwrap(), "{content:?} was taken at once");
    }
    watched.look();
    assert!(newest.has_changed().unwrap(), "nothing has changed between two looks");
    assert!(!newest.borrow().tokens.is_empty());
}

#[test]
fn tokens_are_listed_once_and_with_a_role() {
    let hash = "ab".repeat(32);
    let entry = |name: &str, role: &str| {
        format!("[[token]]\nname = \"{name}\"\nrole = \"{role}\"\nhash = \"{hash}\"\n")
    };
    assert!(Tokens::parse(&entry("alice", "user")).is_ok());
    for (text, word) in [
        (entry("alice", "king"), "line 3"),
        (entry("a/b", "user"), "a/b"),
        (entry("alice", "user") + &entry("bob", "user"), "\"alice\" and \"bob\""),
        (entry("alice", "user") + "secret = 1\n", "line 5"),
        (entry("alice", "user").replace(&hash, "abc"), "hash"),
        ("token = \"lookbehind-secret-secret\"".to_owned(), "line 1"),
    ] {
        let error = Tokens::parse(&text).unwrap_err();
        assert!(!error.contains("secret-secret"), "{error}");
        assert!(error.contains(word), "{error}");
    }
}
