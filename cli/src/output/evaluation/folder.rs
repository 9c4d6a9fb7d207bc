//! The folder of an evaluation: what may be in it, records that an interrupted evaluation left, and the files at its end.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::evaluate::{Record, Row};
use lookbehind_common::job::JobSpec;
use lookbehind_common::text::printable_json;
use lookbehind_worker::evaluate::Known;
use serde::{Deserialize, Serialize};

use super::{Evaluation, curves, report};
use crate::error::CliError;
use crate::output::{is_scratch, names, remove, write_whole};

const EVALUATION: &str = "evaluation.json";
const RECORDS: &str = "records.jsonl";
const RESULTS: &str = "results.jsonl";
const TABLE: &str = "results.csv";
const REPORT: &str = "report.md";
const UNFINISHED: &str = "unfinished.jsonl";
const ALL: [&str; 6] = [EVALUATION, RECORDS, RESULTS, TABLE, REPORT, UNFINISHED];

/// The folder of an evaluation that is computed.
pub struct EvaluationFolder {
    path: PathBuf,
    known: Known,
    unfinished: File,
}

/// The first line of the records of an unfinished evaluation: of which one they are.
#[derive(Serialize, Deserialize)]
struct Begun {
    evaluation: Digest,
}

/// A record of an unfinished evaluation.
#[derive(Serialize, Deserialize)]
struct Kept<R> {
    model: usize,
    unit: usize,
    record: R,
}

/// A line of the records.
#[derive(Serialize)]
struct RecordLine<'a> {
    model: &'a str,
    #[serde(flatten)]
    record: &'a Record,
}

impl EvaluationFolder {
    /// Prepares the folder. It must be new, empty, or contain only an earlier evaluation, whose results are replaced; with
    /// `force` it may contain anything. Records that the same evaluation left when it was interrupted are taken over.
    ///
    /// # Errors
    /// If other files would be destroyed, or the folder cannot be written.
    pub fn prepare(
        path: &Path,
        evaluation: &Evaluation,
        job: &JobSpec,
        force: bool,
    ) -> Result<Self, CliError> {
        fs::create_dir_all(path).map_err(|error| CliError::write(path, error))?;
        let found = names(path)?;
        let foreign = found.iter().map(|name| name.to_string_lossy()).find(|name| !is_own(name));
        if let Some(name) = foreign.filter(|_| !force) {
            let reason = format!("holds {name:?}, which is no output of an evaluation");
            return Err(CliError::Occupied { path: path.to_owned(), reason });
        }
        // What the numbers follow from: models, data and request are in the description, model and shards in the job.
        let identity =
            serde_json::to_string(evaluation).map_err(|error| CliError::write(path, error.into()))?;
        let identity = Digest::of(format!("{identity}{:?}{:?}{}", job.model, job.train, job.seed).as_bytes());
        let file = path.join(UNFINISHED);
        let known = read_known(&file, identity);
        // Written anew, so that a line that was cut off is gone.
        let mut unfinished = create(&file)?;
        append(&mut unfinished, &file, &Begun { evaluation: identity })?;
        let mut places: Vec<_> = known.iter().collect();
        places.sort_by_key(|(place, _)| **place);
        for (&(model, unit), record) in places {
            append(&mut unfinished, &file, &Kept { model, unit, record })?;
        }
        Ok(Self { path: path.to_owned(), known, unfinished })
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The records that are known already.
    pub fn take_known(&mut self) -> Known {
        std::mem::take(&mut self.known)
    }

    /// Keeps a record, so that it need not be computed again.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&mut self, model: usize, unit: usize, record: &Record) -> Result<(), CliError> {
        append(&mut self.unfinished, &self.path.join(UNFINISHED), &Kept { model, unit, record })
    }

    /// Writes all files. Equal records give equal files, byte for byte.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn finish(
        &self,
        evaluation: &Evaluation,
        models: &[(String, Vec<Record>)],
        rows: &[Row],
    ) -> Result<(), CliError> {
        // Curves of an earlier evaluation, which may have had others.
        for name in names(&self.path)?.iter().filter(|name| is_curve(&name.to_string_lossy())) {
            remove(&self.path.join(name))?;
        }
        let lines = models
            .iter()
            .flat_map(|(model, records)| records.iter().map(move |record| RecordLine { model, record }));
        self.write(RECORDS, &json_lines(lines, &self.path)?)?;
        self.write(RESULTS, &json_lines(rows.iter(), &self.path)?)?;
        self.write(
            TABLE,
            &report::csv(rows).map_err(|error| CliError::write(&self.path.join(TABLE), error))?,
        )?;
        for (name, picture) in curves::draw(rows) {
            self.write(&name, picture.as_bytes())?;
        }
        self.write(REPORT, report::markdown(evaluation, models, rows).as_bytes())?;
        let json = serde_json::to_string_pretty(evaluation);
        let json = json.map_err(|error| CliError::write(&self.path, error.into()))?;
        self.write(EVALUATION, format!("{}\n", printable_json(&json)).as_bytes())?;
        remove(&self.path.join(UNFINISHED))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        write_whole(&self.path.join(name), bytes)
    }
}

/// Whether a file may be of an evaluation.
fn is_own(name: &str) -> bool {
    ALL.contains(&name) || is_curve(name) || is_scratch(name.as_ref())
}

fn is_curve(name: &str) -> bool {
    name.ends_with(".svg") && (name.starts_with("noise-") || name.starts_with("sharpness-"))
}

/// The records of an unfinished evaluation, if it is this one. A line that was cut off is left out.
fn read_known(path: &Path, identity: Digest) -> Known {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let begun = lines.next().and_then(|line| serde_json::from_str::<Begun>(line).ok());
    if begun.is_none_or(|begun| begun.evaluation != identity) {
        return Known::new();
    }
    let kept = lines.filter_map(|line| serde_json::from_str::<Kept<Record>>(line).ok());
    kept.map(|kept| ((kept.model, kept.unit), kept.record)).collect()
}

/// A new file in the place of an earlier one.
fn create(path: &Path) -> Result<File, CliError> {
    remove(path)?;
    File::create_new(path).map_err(|error| CliError::write(path, error))
}

fn append(file: &mut File, path: &Path, line: &impl Serialize) -> Result<(), CliError> {
    let mut text = serde_json::to_string(line).map_err(|error| CliError::write(path, error.into()))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(|error| CliError::write(path, error))
}

fn json_lines<T: Serialize>(lines: impl Iterator<Item = T>, path: &Path) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    for line in lines {
        let line = serde_json::to_string(&line).map_err(|error| CliError::write(path, error.into()))?;
        text.extend_from_slice(printable_json(&line).as_bytes());
        text.push(b'\n');
    }
    Ok(text)
}
