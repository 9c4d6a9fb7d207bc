//! A state folder that cannot be used, or not be written.

use std::io::ErrorKind;

use lookbehind_common::ids::JobId;

use super::*;

fn refused(root: &Path) -> StoreError {
    Store::open(root, ClusterId("other".into()), 0).expect_err("a state that cannot be used")
}

#[test]
fn a_database_that_is_missing_or_empty_beside_the_files_of_jobs_begins_no_new_cluster() {
    let root = folder();
    let job = JobId::from_entropy(1);
    std::fs::create_dir_all(open(root.path()).store.job_folder(&job)).unwrap();
    assert_eq!(open(root.path()).cluster.0, "fresh", "a database that is there is used");
    let database = root.path().join(DATABASE);
    for damage in [|path: &Path| std::fs::write(path, []), |path: &Path| std::fs::remove_file(path)] {
        damage(&database).unwrap();
        let error = refused(root.path());
        assert!(matches!(&error, StoreError::Lost { path, .. } if *path == database), "{error}");
        assert!(error.to_string().contains(database.to_str().unwrap()), "{error}");
    }
    std::fs::remove_dir(root.path().join("jobs").join(job.as_str())).unwrap();
    assert_eq!(Store::open(root.path(), ClusterId("other".into()), 0).unwrap().cluster.0, "other");
}

#[test]
fn an_error_of_the_database_names_its_file() {
    let root = folder();
    let database = root.path().join(DATABASE);
    std::fs::write(&database, b"this is no database").unwrap();
    let error = refused(root.path());
    assert!(error.to_string().contains(database.to_str().unwrap()), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_a_failure_of_the_disk_and_not_of_its_content() {
    let path = Path::new("step-1/model.safetensors");
    let source = std::io::Error::from(ErrorKind::StorageFull);
    let error =
        StoreError::of_model_file(path, lookbehind_common::model_file::ModelFileError::Write { source });
    assert!(error.is_full() && !error.is_damage(), "{error:?}");
    assert!(error.to_string().starts_with("step-1/model.safetensors: "), "{error}");
}

#[test]
fn outer_steps_of_a_journal_that_could_not_be_synced_are_written_again() {
    let job = folder();
    let mut journal = Journal::open(job.path(), 0).expect("a new journal").0;
    (1..=2).for_each(|number| journal.append(&step(number)).expect("a writable journal"));
    journal.sync().expect("a disk that works");
    let path = journal::path(job.path());
    let durable = std::fs::metadata(&path).expect("the journal").len();
    (3..=4).for_each(|number| journal.append(&step(number)).expect("a writable journal"));
    journal.doubt_unsynced();
    // As after a loss of power: what the system took for written is gone.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(durable))
        .expect("a file");
    journal.append(&step(5)).expect("a writable journal");
    assert_eq!(steps(job.path()), [1, 2, 3, 4, 5]);
    journal.sync().expect("a disk that works");
    assert_eq!(steps(job.path()), [1, 2, 3, 4, 5], "each once");
}
