use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::args::{Cli, Command};
use crate::exit::Exit;

/// The model and the job of `tests/python/make_evaluation_cases.py`.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/evaluation")
}

/// What a console wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs the command; the objects that it printed.
fn evaluate(arguments: &[&str]) -> Result<Vec<Value>, CliError> {
    let line = ["lookbehind", "evaluate"].iter().chain(arguments);
    let cli = Cli::try_parse_from(line).map_err(|error| CliError::Usage(error.to_string()))?;
    let Command::Evaluate(args) = cli.command else { panic!("not evaluate") };
    let written = Written::default();
    let console = Console::to(true, written.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(&args, &console, Registry::builtin()))?;
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn refusal(arguments: &[&str]) -> String {
    let error = evaluate(arguments).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage, "{error}");
    error.to_string()
}

/// A second model: the first with larger weights.
fn other_model(folder: &TempDir) -> String {
    let bytes = std::fs::read(fixture().join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (head, values) = bytes.split_at(header);
    let scaled =
        values.as_chunks::<4>().0.iter().flat_map(|value| (1.1 * f32::from_le_bytes(*value)).to_le_bytes());
    let path = folder.path().join("other.safetensors");
    std::fs::write(&path, head.iter().copied().chain(scaled).collect::<Vec<u8>>()).unwrap();
    path.display().to_string()
}

/// All files of a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn models_are_evaluated_together_and_the_files_do_not_depend_on_threads() {
    let folder = TempDir::new().unwrap();
    let (model, other) = (fixture().display().to_string(), other_model(&folder));
    let run = |threads: &str, out: &str| {
        let out = folder.path().join(out);
        let out_text = out.display().to_string();
        let lines = evaluate(&[
            &model,
            &other,
            "--noise",
            "multiplicative=0,0.1,0.3",
            "--noise",
            "quantize",
            "--draws",
            "5",
            "--sharpness",
            "one_step,average_l2",
            "--radii",
            "0.05,0.1",
            "--samples",
            "100",
            "--m",
            "40",
            "--sharpness-draws",
            "4",
            "--hessian",
            "--eigenvalues",
            "2",
            "--iterations",
            "8",
            "--probes",
            "3",
            "--threads",
            threads,
            "--out",
            &out_text,
        ]);
        (lines.unwrap(), files(&out))
    };
    let (lines, one) = run("1", "one");
    let (_, three) = run("3", "three");
    assert_eq!(one, three);

    let evaluation = &lines[0]["evaluation"];
    assert_eq!(evaluation["models"][1]["name"], other.as_str());
    assert!(evaluation["cost_in_gradients"].as_f64().unwrap() > 0.0);
    let rows: Vec<&Value> = lines[1..].iter().map(|line| &line["result"]).collect();
    let find = |model: &str, measure: &str, quantity: &str, at: Option<f64>| {
        let found = rows.iter().find(|row| {
            row["model"] == model
                && row["measure"] == measure
                && row["quantity"] == quantity
                && row["at"].as_f64() == at
        });
        *found.unwrap_or_else(|| panic!("no row {measure} {quantity}"))
    };
    let clean = find(&model, "test", "accuracy", None)["mean"].as_f64().unwrap();
    assert_eq!(clean, 0.7125);
    assert_eq!(find(&model, "noise multiplicative frozen", "accuracy", Some(0.0))["mean"], clean);
    let noisy = find(&other, "noise multiplicative frozen", "accuracy", Some(0.3));
    assert!(
        noisy["n"] == 5 && noisy["difference"]["n"] == 5 && noisy["difference"]["holm_p"].is_number(),
        "{noisy}"
    );
    assert_eq!(find(&model, "sharpness one_step m=40", "loss_increase", Some(0.1))["n"], 3);
    assert!(find(&model, "hessian", "disagreement", None)["mean"].is_number());

    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["evaluation.json", "records.jsonl", "report.md", "results.csv", "results.jsonl"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let curves = names.iter().filter(|name| name.ends_with(".svg")).count();
    assert!(curves >= 6 && !names.contains(&"unfinished.jsonl"), "{names:?}");
    let table = &one.iter().find(|(name, _)| name == "results.csv").unwrap().1;
    assert_eq!(table.iter().filter(|byte| **byte == b'\n').count(), rows.len() + 1);
}

#[test]
fn what_cannot_be_computed_is_refused_before_anything_is() {
    let model = fixture().display().to_string();
    let told = |arguments: &[&str]| refusal(&[&[model.as_str()][..], arguments].concat());
    for radius in ["0", "NaN", "-0.1", "inf"] {
        let told = told(&["--sharpness", "one_step", "--radii", radius]);
        assert!(told.starts_with("--radii: expected numbers above 0"), "{told}");
    }
    let unknown = told(&["--sharpness", "one_stepp"]);
    assert!(unknown.contains("did you mean \"one_step\"?"), "{unknown}");
    let unknown = told(&["--noise", "multiplicativ"]);
    assert!(unknown.contains("did you mean \"multiplicative\"?"), "{unknown}");
    assert!(told(&["--noise", "additive=0.1,x"]).contains("expected levels as numbers, found \"x\""));
    assert!(told(&["--noise", "quantize=40"]).starts_with("--noise: expected whole numbers of bits"));
    assert!(told(&["--noise", "additive", "--draws", "0"]).starts_with("--draws: expected 1 to"));
    assert!(told(&["--recalibrate"]).contains("--recalibrate: the model has no running statistics"));
    assert!(told(&["--baseline", "elsewhere"]).starts_with("--baseline: expected one of the models"));
    assert!(told(&[&model]).ends_with("is given twice"));
    assert!(told(&["--hessian", "--iterations", "2"]).starts_with("--iterations: expected 5 to 1000"));
}

#[test]
fn models_that_are_none_are_refused() {
    assert!(refusal(&["nowhere.safetensors"]).contains("expected a model file"));
    let folder = TempDir::new().unwrap();
    let alone = other_model(&folder);
    assert!(refusal(&[&alone]).contains("--job JOB.toml says model and data"));
    let job = fixture().join("job.toml").display().to_string();
    std::fs::write(&alone, b"no model").unwrap();
    assert!(refusal(&[&alone, "--job", &job]).starts_with(&alone));
}
