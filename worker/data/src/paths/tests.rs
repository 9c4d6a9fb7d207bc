use std::fs;
use std::os::unix::fs::symlink;

use super::resolve;
use crate::DataError;
use crate::test_support::data_folder;

fn refusal(path: &str) -> DataError {
    let (folder, _) = data_folder();
    fs::create_dir(folder.path().join("inside")).unwrap();
    resolve(folder.path(), path, "data.train").unwrap_err()
}

#[test]
fn paths_that_cannot_stay_inside_the_folder_are_the_jobs_fault_and_name_the_key() {
    let long = "a/".repeat(600);
    let outside = "expected a path inside the data folder";
    for (path, expected) in [
        ("", "expected a path, found nothing"),
        ("/etc/passwd", outside),
        ("../secret", outside),
        ("inside/../../secret", outside),
        ("in\0side", "without NUL"),
        (long.as_str(), "at most 1024 bytes, found 1200"),
    ] {
        let error = refusal(path);
        let text = error.to_string();
        assert!(error.is_fault_of_job(), "{text}");
        assert!(text.starts_with("data.train: ") && text.contains(expected), "{text}");
    }
}

#[test]
fn missing_files_and_folders_are_this_workers_fault_and_are_named() {
    for (path, expected) in [("none.safetensors", "not found"), ("inside", "not a regular file")] {
        let error = refusal(path);
        let text = error.to_string();
        assert!(!error.is_fault_of_job());
        assert!(text.contains(&format!("data file {path:?}")) && text.contains(expected), "{text}");
    }
}

#[test]
fn a_name_that_the_system_finds_too_long_is_an_error() {
    let name = "a".repeat(1000);
    assert!(refusal(&name).to_string().contains("cannot be read"));
}

#[test]
fn links_may_stay_inside_the_folder_but_not_leave_it() {
    let (folder, _) = data_folder();
    let (other, _) = data_folder();
    fs::write(folder.path().join("here"), "x").unwrap();
    fs::write(other.path().join("there"), "x").unwrap();
    symlink(folder.path().join("here"), folder.path().join("good")).unwrap();
    symlink(other.path().join("there"), folder.path().join("bad")).unwrap();
    symlink(other.path(), folder.path().join("door")).unwrap();

    let found = resolve(folder.path(), "good", "data.train").unwrap();
    assert_eq!(found, folder.path().join("here").canonicalize().unwrap());
    for path in ["bad", "door/there"] {
        let error = resolve(folder.path(), path, "data.train").unwrap_err();
        assert!(error.to_string().contains("a link leads out of"), "{error}");
    }
}

#[test]
fn a_missing_data_folder_is_named() {
    let (folder, _) = data_folder();
    let gone = folder.path().join("gone");
    let error = resolve(&gone, "x", "data.train").unwrap_err().to_string();
    assert!(error.starts_with("data folder") && error.contains("gone"), "{error}");
}
