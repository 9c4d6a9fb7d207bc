use std::path::Path;

use tempfile::TempDir;

use super::manifest::MANIFEST;
use super::*;
use crate::state::{JobChange, StoredJob, record_for_tests};
use crate::store::{DATABASE, Store};
use lookbehind_common::ids::ClusterId;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(root: &Path) -> crate::store::Opened {
    Store::open(root, ClusterId("fresh".into()), 7).expect("a usable state")
}

/// A state folder with a job and an upload.
fn state() -> TempDir {
    let state = folder();
    let change =
        JobChange { record: record_for_tests(1), spec: Some([1, 2, 3].as_slice().into()), notices: vec![] };
    open(state.path()).store.put(&change).expect("a writable state");
    let uploads = state.path().join("uploads");
    std::fs::create_dir_all(&uploads).expect("a folder");
    std::fs::write(crate::store::uploads::path(&uploads, &Digest::of(b"weights")), b"weights")
        .expect("a file");
    state
}

/// A backup of [`state`], in a folder within the one that is returned.
fn backup() -> (TempDir, PathBuf) {
    let (state, around) = (state(), folder());
    let backup = around.path().join("backup");
    let contents = back_up(state.path(), &backup).expect("a backup");
    assert_eq!((contents.jobs, contents.checkpoints, contents.files), (1, 0, 2));
    (around, backup)
}

#[test]
fn a_restored_state_has_the_jobs_and_uploads_of_the_backup() {
    let (around, backup) = backup();
    let state = around.path().join("state");
    restore(&backup, &state).expect("a state");
    let opened = open(&state);
    assert_eq!(opened.cluster.0, "fresh");
    assert_eq!(opened.stored.jobs, [StoredJob { record: record_for_tests(1), spec: Some(vec![1, 2, 3]) }]);
    assert_eq!(opened.stored.unrecorded_uploads, [(Digest::of(b"weights"), 7)]);
    assert!(!state.join(MANIFEST).exists(), "only the state was restored");
}

#[test]
fn every_table_of_the_database_is_copied() {
    let state = state();
    let opened = open(state.path());
    opened.store.copy_database(&state.path().join("copy.redb")).expect("a copy that lacks no table");
}

#[test]
fn a_damaged_file_is_named_and_nothing_of_the_backup_is_left_in_the_state() {
    let (around, backup) = backup();
    let upload = crate::store::uploads::path(Path::new("uploads"), &Digest::of(b"weights"));
    for file in [upload, DATABASE.into()] {
        let path = backup.join(&file);
        let mut bytes = std::fs::read(&path).expect("a file of the backup");
        bytes[3] ^= 1;
        std::fs::write(&path, &bytes).expect("a damaged file");
        let state = around.path().join("state");
        let refused = restore(&backup, &state).expect_err("a damaged backup");
        assert!(matches!(&refused, BackupError::Changed { path: named, .. } if *named == path), "{refused}");
        assert!(!state.join(DATABASE).exists());
        bytes[3] ^= 1;
        std::fs::write(&path, &bytes).expect("the file as it was");
        restore(&backup, &state).expect("the next attempt succeeds where the first has failed");
        std::fs::remove_dir_all(&state).expect("a folder");
    }
}

#[test]
fn a_backup_that_is_incomplete_changed_or_newer_is_refused() {
    let (around, backup) = backup();
    let (state, path) = (around.path().join("state"), backup.join(MANIFEST));
    let text = std::fs::read_to_string(&path).expect("the manifest");
    let refused = |text: &str| {
        std::fs::write(&path, text).expect("a manifest");
        restore(&backup, &state).expect_err("an unusable backup")
    };
    let newer = refused(&text.replace("\"format\": 1", "\"format\": 2"));
    assert!(matches!(newer, BackupError::Newer { found: 2, known: 1, .. }), "{newer}");
    assert!(newer.to_string().contains("use a newer build"), "{newer}");
    let changed = refused(&text.replace("\"jobs\": 1", "\"jobs\": 2"));
    assert!(changed.to_string().contains("does not match its seal"), "{changed}");
    std::fs::remove_file(&path).expect("the manifest");
    let incomplete = restore(&backup, &state).expect_err("a backup without a manifest");
    assert!(incomplete.to_string().contains("not completed"), "{incomplete}");
    assert!(!state.exists());
}

#[test]
fn neither_a_backup_nor_a_state_replaces_what_is_in_a_folder() {
    let (around, backup) = backup();
    let state = state();
    let refused = [back_up(state.path(), &backup), restore(&backup, state.path())];
    for refused in refused {
        let refused = refused.expect_err("a folder that is used");
        assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    }
    let nowhere = back_up(&around.path().join("nowhere"), &around.path().join("out"));
    assert!(nowhere.expect_err("no state").to_string().contains("nowhere"));
}
