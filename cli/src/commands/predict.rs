//! `predict`: which classes a trained model gives to samples, new ones or those of its job.

use std::io::Write;
use std::path::{Path, PathBuf};

use lookbehind_common::evaluate::EvaluatedSplit;
use lookbehind_worker::data::{Change, DataReport, Finding, NewSamples};
use lookbehind_worker::evaluate::Prediction;
use lookbehind_worker::registry::Registry;

use super::subject::{Models, threads};
use crate::args::Predict;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;
use crate::output::evaluation::Predicted;
use crate::output::write_whole;
use crate::text::percent;

/// Predicts.
///
/// # Errors
/// If the model does not fit the job, samples cannot be read, or an output cannot be written.
pub(super) async fn run(args: &Predict, console: &Console, registry: Registry) -> Result<(), CliError> {
    if let Some(out) = args.out.as_deref().filter(|out| out.exists() && !args.force) {
        let reason = "exists already".to_owned();
        return Err(CliError::Occupied { path: out.to_owned(), reason });
    }
    let models = Models::open(&args.subject, std::slice::from_ref(&args.model)).await?;
    let files = files(&args.files)?;
    let new = (!files.is_empty()).then(|| NewSamples::new(files.clone()));
    let loaded = models.evaluation(&args.subject, registry, new)?;
    let report = loaded.report();
    let weights = match models.files.first() {
        Some(file) => file.weights(loaded.layout())?.0,
        None => return Err(CliError::Usage("predict: expected a model".to_owned())),
    };
    let split = if files.is_empty() { args.split } else { EvaluatedSplit::Test };
    let samples = loaded.sizes(split).split;
    let naming = Naming {
        labelled: files.is_empty() || !is_unlabelled(&report),
        // Each file is a sample, unless it holds several or none.
        files: if files.len() as u64 == samples { files } else { Vec::new() },
        report: &report,
    };
    let mut output = Output::new(args.out.as_deref(), console, &report)?;
    let mut correct = 0_u64;
    loaded.predict(&weights, split, threads(&args.subject), |prediction| {
        correct += u64::from(prediction.class == Some(prediction.target));
        output.take(&naming.line(prediction))
    })?;
    output.finish()?;
    if naming.labelled && samples > 0 {
        let accuracy = percent(correct as f64 / samples as f64);
        console.note(format_args!("{samples} samples, {correct} of them as labelled: accuracy {accuracy}"));
    }
    Ok(())
}

/// How samples and classes are called.
struct Naming<'a> {
    report: &'a DataReport,
    labelled: bool,
    files: Vec<PathBuf>,
}

impl Naming<'_> {
    fn line(&self, prediction: Prediction) -> Predicted {
        let Prediction { sample, class, probabilities, target, .. } = prediction;
        Predicted {
            sample,
            file: self.files.get(sample as usize).map(|file| file.display().to_string()),
            class: class.map(|class| self.name(class)),
            probability: class.and_then(|class| probabilities.get(class)).copied().unwrap_or(f64::NAN),
            probabilities,
            label: self.labelled.then(|| self.name(target)),
        }
    }

    fn name(&self, class: usize) -> String {
        self.report.class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

/// Whether the new samples have no labels.
fn is_unlabelled(report: &DataReport) -> bool {
    report
        .findings
        .iter()
        .any(|finding| matches!(finding, Finding::Converted { change: Change::Unlabelled, .. }))
}

/// The files that are named, with those of folders in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            std::fs::metadata(path).map_err(|error| CliError::read(path, error))?;
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| CliError::read(path, error))?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| CliError::read(path, error))?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_file() && !hidden {
                found.push(path);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Where predictions go.
enum Output<'a> {
    Console(&'a Console),
    Lines(PathBuf, Vec<u8>),
    Table(PathBuf, Box<csv::Writer<Vec<u8>>>),
}

impl<'a> Output<'a> {
    fn new(path: Option<&Path>, console: &'a Console, report: &DataReport) -> Result<Self, CliError> {
        Ok(match path {
            None => Self::Console(console),
            Some(path) if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                let mut heading =
                    ["sample", "file", "label", "class", "probability"].map(str::to_owned).to_vec();
                let classes = 0..report.description.classes;
                heading.extend(classes.map(|class| {
                    let name = report.class_names.get(class).cloned();
                    format!("p_{}", name.unwrap_or_else(|| class.to_string()))
                }));
                writer.write_record(&heading).map_err(|error| CliError::write(path, error.into()))?;
                Self::Table(path.to_owned(), Box::new(writer))
            }
            Some(path) => Self::Lines(path.to_owned(), Vec::new()),
        })
    }

    fn take(&mut self, line: &Predicted) -> Result<(), CliError> {
        match self {
            Self::Console(console) if console.json() => console.object(&Line::Prediction(line)),
            Self::Console(console) => {
                let name = line.file.clone().unwrap_or_else(|| line.sample.to_string());
                let class = line.class.as_deref().unwrap_or("-");
                let label =
                    line.label.as_ref().map(|label| format!("  labelled {label}")).unwrap_or_default();
                console.result(format_args!("{name}  {class}  {}{label}", percent(line.probability)))
            }
            Self::Lines(path, bytes) => {
                serde_json::to_writer(&mut *bytes, line)
                    .map_err(|error| CliError::write(path, error.into()))?;
                bytes.write_all(b"\n").map_err(|error| CliError::write(path, error))
            }
            Self::Table(path, writer) => {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                let mut cells = vec![
                    line.sample.to_string(),
                    text(&line.file),
                    text(&line.label),
                    text(&line.class),
                    line.probability.to_string(),
                ];
                cells.extend(line.probabilities.iter().map(ToString::to_string));
                writer.write_record(&cells).map_err(|error| CliError::write(path, error.into()))
            }
        }
    }

    fn finish(self) -> Result<(), CliError> {
        match self {
            Self::Console(_) => Ok(()),
            Self::Lines(path, bytes) => write_whole(&path, &bytes),
            Self::Table(path, writer) => {
                let bytes = writer.into_inner();
                let bytes = bytes
                    .map_err(|error| CliError::write(&path, std::io::Error::other(error.to_string())))?;
                write_whole(&path, &bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests;
