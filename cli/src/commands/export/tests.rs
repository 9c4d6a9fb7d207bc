use std::fs;
use std::path::Path;

use clap::Parser;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::parse_toml;
use lookbehind_worker::compute::CandleBackend;
use lookbehind_worker::data::DataEnvironment;
use tempfile::TempDir;

use super::*;
use crate::args::{Cli, Command};

const JOB_TEXT: &str = "name = \"tiny\"\n[model]\nkind = \"mlp\"\nhidden = [4]\n[data]\nkind = \"digits\"\n[train]\n\
                        steps = 1\nbatch_size = 2\n[optimizer]\nmethod = \"sgd\"\n";

/// A folder with a model, and with its job beside it.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("job.toml"), JOB_TEXT).unwrap();
    let environment = DataEnvironment::local(folder.path().to_owned(), 1 << 30);
    let backend = CandleBackend::new(Registry::builtin(), environment);
    let layout = backend.build(&parse_toml(JOB_TEXT).unwrap().validate().unwrap()).unwrap();
    let weights = layout.lengths().map(|length| FlatBuffer::from(vec![0.5; length]));
    let names = BTreeMap::from([(CLASSES, list_text(&["zero".to_owned(), "one".to_owned()]))]);
    model_file::write(&folder.path().join("model.safetensors"), &layout, &weights, &names).unwrap();
    folder
}

async fn export(folder: &Path, line: &str) -> Result<(), CliError> {
    let path = |name: &str| folder.join(name).display().to_string();
    let line = line.split_whitespace().map(|word| match word.split_once('@') {
        Some((_, name)) => path(name),
        None => word.to_owned(),
    });
    let cli =
        Cli::try_parse_from(["lookbehind".to_owned(), "export".to_owned()].into_iter().chain(line)).unwrap();
    let Command::Export(args) = cli.command else { panic!("another command") };
    run(&args, &Console::to(true, std::io::sink()), Registry::builtin()).await
}

#[tokio::test]
async fn an_exported_model_carries_its_job_and_needs_no_other_file() {
    let folder = folder();
    let model = folder.path().join("model.safetensors");
    export(folder.path(), "@model.safetensors --out @alone.safetensors").await.unwrap();
    let alone = fs::read(folder.path().join("alone.safetensors")).unwrap();
    assert_eq!(model_file::metadata(&alone, JOB).unwrap().as_deref(), Some(JOB_TEXT));
    assert_eq!(model_file::class_names(&alone).unwrap(), ["zero", "one"]);

    let other = TempDir::new().unwrap();
    let moved = other.path().join("alone.safetensors");
    fs::copy(folder.path().join("alone.safetensors"), &moved).unwrap();
    export(other.path(), "@alone.safetensors --out @again.safetensors").await.unwrap();
    assert_eq!(fs::read(other.path().join("again.safetensors")).unwrap(), alone);
    fs::copy(&model, other.path().join("bare.safetensors")).unwrap();
    let error =
        export(other.path(), "@bare.safetensors --out @no.safetensors").await.unwrap_err().to_string();
    assert!(error.contains("no job in its metadata, and no job file lies beside it"), "{error}");
}

#[tokio::test]
async fn an_exported_graph_carries_job_and_classes() {
    let folder = folder();
    export(folder.path(), "@model.safetensors --onnx --out @model.onnx").await.unwrap();
    let bytes = fs::read(folder.path().join("model.onnx")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(JOB_TEXT) && text.contains("[\"zero\",\"one\"]") && text.contains("Gemm"));
    let error =
        export(folder.path(), "@model.safetensors --onnx --out @model.onnx").await.unwrap_err().to_string();
    assert!(error.contains("model.onnx") && error.contains("exists already"), "{error}");
    export(folder.path(), "@model.safetensors --onnx --out @model.onnx --force").await.unwrap();
}

#[tokio::test]
async fn a_model_of_another_job_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("other.toml"), JOB_TEXT.replace("[4]", "[5]")).unwrap();
    for format in ["", "--onnx"] {
        let line = format!("@model.safetensors --job @other.toml {format} --out @no");
        let error = export(folder.path(), &line).await.unwrap_err().to_string();
        assert!(error.contains("layers.0.weight") && error.contains("expected shape [5, 64]"), "{error}");
        assert!(!folder.path().join("no").exists());
    }
}
