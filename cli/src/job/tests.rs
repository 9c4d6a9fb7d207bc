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
    let error = JobSource::read(&path, None).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: train.batch_size: ", path.display())), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = JobSource::read(Path::new("no/such/job.toml"), None).unwrap_err();
    assert!(error.to_string().starts_with("no/such/job.toml: cannot be read: "), "{error}");
}

#[test]
fn initial_weights_are_read_from_the_job_files_folder_and_travel_by_digest() {
    let (folder, path) = written(&JOB.replace("hidden = [4]", "hidden = [4]\ninit = \"init.safetensors\""));
    let missing = JobSource::read(&path, None).unwrap_err().to_string();
    assert!(
        missing.contains("model.init: ") && missing.contains("init.safetensors: cannot be read"),
        "{missing}"
    );
    std::fs::write(folder.path().join("init.safetensors"), b"no tensors").unwrap();
    let damaged = JobSource::read(&path, None).unwrap_err().to_string();
    assert!(damaged.contains("init.safetensors: not a usable safetensors file"), "{damaged}");
    std::fs::write(folder.path().join("init.safetensors"), weights("a")).unwrap();
    let job = JobSource::read(&path, None).unwrap();
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
    let source = JobSource::read_with(&path, &settings(&["train.steps=9", "seed=4"]), None).unwrap();
    assert_eq!((source.message().seed, source.message().train.unwrap().steps), (Some(4), Some(9)));
    assert_eq!(parse_toml(&source.text).unwrap(), *source.file());
    let error =
        JobSource::read_with(&path, &settings(&["train.batch_size=0"]), None).unwrap_err().to_string();
    assert!(error.contains("train.batch_size: "), "{error}");
}

/// A backend that converts files for the models that are built in.
fn backend() -> std::sync::Arc<CandleBackend> {
    let (registry, remote) = (lookbehind_worker::registry::Registry::builtin(), Default::default());
    let device = lookbehind_worker::device::DeviceChoice::Cpu;
    crate::local::backend(registry, Path::new("."), remote, 1, &device).unwrap()
}

#[test]
fn a_file_of_another_program_is_converted_before_it_travels() {
    let section = "[model.init]\nfile = \"init.safetensors\"\nstrip_prefix = \"module.\"\n[data]";
    let (folder, path) = written(&JOB.replace("[data]", section));
    let shapes: [(&str, &[usize]); 4] =
        [("0.weight", &[4, 64]), ("0.bias", &[4]), ("1.weight", &[10, 4]), ("1.bias", &[10])];
    let tensors: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| {
            let values = vec![0_u8; shape.iter().product::<usize>() * 2];
            (format!("module.layers.{name}"), safetensors::Dtype::F16, shape.to_vec(), values)
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, values)| {
        (name.as_str(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), values).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join("init.safetensors"), file).unwrap();
    let backend = backend();
    let source = JobSource::read(&path, Some(&backend)).unwrap();
    let init = source.init.as_ref().unwrap();
    assert_eq!(source.message().model.unwrap().init, Some(init.digest.to_string()));
    let layout = backend.build(&source.spec).unwrap();
    let weights = model_file::read(&init.bytes, &layout).unwrap();
    assert!(weights.parameters.iter().all(|value| *value == 0.0));

    let (_other, path) =
        written(&JOB.replace("hidden = [4]", "hidden = [4]\ninit = { file = \"none.safetensors\" }"));
    let missing = JobSource::read(&path, Some(&backend)).unwrap_err().to_string();
    assert!(missing.contains("none.safetensors: cannot be read"), "{missing}");
    let refused = JobSource::read(&path, None).unwrap_err().to_string();
    assert!(refused.contains("model.init: ") && refused.contains("validate --save-init"), "{refused}");
}
