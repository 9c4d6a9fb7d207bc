//! Files and records of uploads.

use lookbehind_common::model_file;

use super::super::uploads::{self, Upload, UploadError};
use super::*;

/// A model file.
fn weights() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let flat_buffer = FlatBuffer::from(vec![0.5; 6]);
    model_file::write_flat(file.path(), &[("layers.0.weight", &flat_buffer)]).expect("a writable file");
    std::fs::read(file.path()).expect("the file")
}

fn receive(folder: &Path, ticket: u64, bytes: &[u8]) -> Result<Digest, UploadError> {
    let mut upload = Upload::begin(folder, ticket, bytes.len() as u64)?;
    bytes.chunks(5).try_for_each(|piece| upload.write(piece))?;
    upload.finish()
}

fn upload_record(bytes: &[u8]) -> UploadRecord {
    let (digest, sent_at) = (Digest::of(bytes), UnixMillis(9));
    let senders = ["alice".to_owned(), "bob".to_owned()].into();
    UploadRecord { digest, bytes: bytes.len() as u64, owner: "alice".into(), senders, sent_at, claimed: true }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn an_upload_is_found_by_its_digest_and_checked() {
    let root = folder();
    let whole = weights();
    let digest = receive(root.path(), 1, &whole).expect("a model file");
    uploads::give_name(root.path(), 1, &digest).expect("a writable folder");
    uploads::give_name(root.path(), 1, &digest).expect("a repetition changes nothing");
    assert_eq!(uploads::read(root.path(), &digest, 1000).expect("the file"), whole);
    let most = whole.len() as u64 - 1;
    assert!(matches!(uploads::read(root.path(), &digest, most), Err(StoreError::Damaged { .. })), "too long");
    std::fs::write(root.path().join(format!("{digest}.safetensors")), b"others").expect("a damaged file");
    assert!(matches!(uploads::read(root.path(), &digest, 1000), Err(StoreError::Damaged { .. })));
}

#[test]
fn of_an_upload_that_is_refused_or_given_up_nothing_is_left() {
    let root = folder();
    let noise = [7; 300];
    assert!(matches!(receive(root.path(), 1, &noise), Err(UploadError::Invalid(_))));
    assert!(matches!(receive(root.path(), 2, &[]), Err(UploadError::Invalid(_))));
    let mut cut = Upload::begin(root.path(), 3, 300).expect("a writable folder");
    cut.write(&weights()[..20]).expect("the beginning of a model file");
    assert!(matches!(cut.finish(), Err(UploadError::Invalid(_))));
    drop(Upload::begin(root.path(), 4, 300).expect("a writable folder"));
    assert_eq!(files(root.path()), 0);
}

#[test]
fn a_start_finds_files_with_and_without_a_record_and_removes_unfinished_ones() {
    let root = folder();
    let (first, second) = (weights(), [weights(), vec![]].concat());
    let opened = open(root.path());
    let uploads = opened.store.uploads_folder();
    let digest = receive(&uploads, 1, &first).expect("a model file");
    opened.store.keep_upload(Some(1), &upload_record(&first)).expect("a writable state");
    // One that ended before its record was stored, one of which only the record is left, and foreign files.
    let lost = Digest::of(b"lost");
    opened
        .store
        .keep_upload(None, &UploadRecord { digest: lost, ..upload_record(b"lost") })
        .expect("a record");
    let stray = Digest::of(b"stray");
    std::fs::write(uploads.join(format!("{stray}.safetensors")), &second[..9]).expect("a file");
    std::fs::write(uploads.join(".7.tmp"), b"half").expect("a file");
    std::fs::write(uploads.join("notes.txt"), b"of an operator").expect("a file");
    drop(opened);
    let opened = open(root.path());
    assert_eq!(opened.stored.uploads, [upload_record(&first)]);
    assert_eq!(opened.stored.unrecorded_uploads, [(stray, 9)]);
    assert_eq!(files(&uploads), 3, "the unfinished file is gone");
    opened.store.drop_upload(&digest).expect("a writable state");
    opened.store.drop_upload(&lost).expect("a file that is not there");
    assert_eq!(files(&uploads), 2);
    drop(opened);
    assert_eq!(open(root.path()).stored.uploads, []);
}
