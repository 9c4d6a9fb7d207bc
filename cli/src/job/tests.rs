use super::*;
use crate::fake_test::{job, source};

const JOB: &str = r#"
name = "tiny"
[model]
kind = "mlp"
hidden = [4]
[data]
kind = "digits"
[train]
steps = 3
batch_size = 16
[optimizer]
method = "sgd"
"#;

/// A safetensors file without tensors whose bytes depend on `note`.
fn weights(note: &str) -> Vec<u8> {
    let header = format!("{{\"__metadata__\":{{\"note\":\"{note}\"}}}}");
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn the_embedded_job_is_valid_and_is_the_one_that_the_design_names() {
    let job = JobSource::embedded(&[]).unwrap();
    let optimizer = job.message().optimizer.unwrap();
    assert_eq!(optimizer.method(), v1::Method::Lookbehind);
    assert_eq!((optimizer.ascent(), optimizer.k), (v1::Ascent::Sam, Some(2)));
    assert_eq!(job.spec.train.shards, 8);
}

#[test]
fn a_wrong_key_is_named_with_its_file() {
    let (_folder, path) = written(&JOB.replace("batch_size = 16", "batch_size = 0"));
    let error = JobSource::read(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: train.batch_size: ", path.display())), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = JobSource::read(Path::new("no/such/job.toml")).unwrap_err();
    assert!(error.to_string().starts_with("no/such/job.toml: cannot be read: "), "{error}");
}

#[test]
fn initial_weights_are_read_from_the_job_files_folder_and_travel_by_digest() {
    let (folder, path) = written(&JOB.replace("hidden = [4]", "hidden = [4]\ninit = \"init.safetensors\""));
    let missing = JobSource::read(&path).unwrap_err().to_string();
    assert!(
        missing.contains("model.init: ") && missing.contains("init.safetensors: cannot be read"),
        "{missing}"
    );
    std::fs::write(folder.path().join("init.safetensors"), b"no tensors").unwrap();
    let damaged = JobSource::read(&path).unwrap_err().to_string();
    assert!(damaged.contains("init.safetensors: not a usable safetensors file"), "{damaged}");
    std::fs::write(folder.path().join("init.safetensors"), weights("a")).unwrap();
    let job = JobSource::read(&path).unwrap();
    let digest = Digest::of(&weights("a"));
    assert_eq!(job.message().model.unwrap().init, Some(digest.to_string()));
    assert_eq!(job.init.unwrap().digest, digest);
}

#[test]
fn the_job_that_is_written_is_the_job_that_ran() {
    let source = source();
    let job = v1::Job { spec: Some(source.message()), ..job(v1::JobState::Succeeded) };
    let text = job_toml(&job).unwrap();
    assert!(!text.contains("[resources]"), "a section without keys says nothing:\n{text}");
    let file = lookbehind_common::job::parse_toml(&text).unwrap();
    assert_eq!(wire::to_proto(&file), source.message());
}

#[test]
fn a_job_with_changed_keys_is_written_and_checked_as_changed() {
    let (_folder, path) = written(JOB);
    let settings = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Setting>>();
    let source = JobSource::read_with(&path, &settings(&["train.steps=9", "seed=4"])).unwrap();
    assert_eq!((source.message().seed, source.message().train.unwrap().steps), (Some(4), Some(9)));
    assert_eq!(parse_toml(&source.text).unwrap(), *source.file());
    let error = JobSource::read_with(&path, &settings(&["train.batch_size=0"])).unwrap_err().to_string();
    assert!(error.contains("train.batch_size: "), "{error}");
}

#[test]
fn a_prefix_is_taken_off_before_the_weights_travel() {
    let (folder, path) = written(&JOB.replace(
        "hidden = [4]",
        "hidden = [4]\ninit = { file = \"init.safetensors\", strip_prefix = \"module.\" }",
    ));
    let file = |name: &str| {
        let header = format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}");
        let header = format!("{header:width$}", width = header.len().next_multiple_of(8));
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
    };
    std::fs::write(folder.path().join("init.safetensors"), file("module.weight")).unwrap();
    let job = JobSource::read(&path).unwrap();
    let digest = Digest::of(&file("weight"));
    assert_eq!(job.message().model.unwrap().init, Some(digest.to_string()));
    std::fs::write(folder.path().join("init.safetensors"), file("net.weight")).unwrap();
    let error = JobSource::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("no tensor has a name that begins with \"module.\"; the file has \"net.weight\""),
        "{error}"
    );
}
