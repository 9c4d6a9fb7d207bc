//! `runs.jsonl`: the finished runs of a study, one line each, written when a run has finished. What is there is not
//! trained again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lookbehind_common::job::JobFile;
use lookbehind_proto::json::TestJson;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::output::best::{Selected, TestResult};

/// The file's name in the folder of a study.
pub const RUNS: &str = "runs.jsonl";

/// A finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Identity of everything that the result depends on.
    pub key: String,
    /// Name of the variant, with the values of its grid, when it was trained.
    pub variant: String,
    /// Seed of the job.
    pub seed: u64,
    /// Why the job failed; absent if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Digest of the final weights.
    pub digest: String,
    /// Outer steps of the run.
    pub outer_steps: u64,
    /// Samples that it consumed.
    pub samples: u64,
    /// Gradients that it computed.
    pub gradients: u64,
    /// The last result on the test split.
    pub last: Option<TestJson>,
    /// The best result on the test split.
    pub best: Option<TestResult>,
    /// What validation chooses.
    pub selected: Option<Selected>,
    /// The last result in validation.
    pub validation: Option<TestJson>,
    /// The last result on the training split with clean labels.
    pub clean: Option<TestJson>,
    /// The last result on the samples with wrong labels.
    pub memorised: Option<TestJson>,
    /// Seconds from the beginning to the end of each outer step, summed.
    pub wall_seconds: f64,
    /// Seconds that the workers computed, the busiest one of each request.
    pub compute_seconds: f64,
    /// Results of the study's evaluation of the model; empty without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluation: Vec<Measured>,
    /// Gradients so far, accuracy on the test split and in validation, at evaluations over the run.
    pub curve: Vec<Point>,
    /// Version of the build that trained.
    pub build: String,
    /// The job.
    pub job: JobFile,
}

/// A result of the evaluation of a run's model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured.
    pub measure: String,
    /// Level, radius or number; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<f64>,
    /// The quantity.
    pub quantity: String,
    /// The mean over draws, m-batches or probes; absent if it is not finite.
    pub value: Option<f64>,
}

/// A point of a run's curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Gradients so far.
    pub gradients: u64,
    /// Accuracy on the test split.
    pub test: Option<f64>,
    /// Accuracy in validation.
    pub validation: Option<f64>,
}

/// The first line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    study: String,
    /// Random: with it, a coordinator recognises the jobs that this study has created.
    id: String,
}

/// The finished runs of a study.
pub struct Ledger {
    path: PathBuf,
    file: File,
    /// Random identity of the study's folder.
    pub id: String,
    records: BTreeMap<String, Record>,
}

impl Ledger {
    /// Opens the file in a folder, or begins it with the identity `new_id`. It is locked while it is open.
    ///
    /// # Errors
    /// If another command has it open, it cannot be read or written, or a line that is whole is not a run.
    pub fn open(folder: &Path, study: &str, new_id: &str) -> Result<Self, CliError> {
        std::fs::create_dir_all(folder).map_err(|error| CliError::write(folder, error))?;
        let path = folder.join(RUNS);
        let write = |error| CliError::write(&path, error);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(write)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            CliError::Usage(format!("{}: another command is running this study", path.display()))
        })?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| CliError::read(&path, error))?;
        // A line without an end was not written to its end: that run is done again.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(write)?;
        }
        file.seek(SeekFrom::End(0)).map_err(write)?;
        let mut ledger = Self { path: path.clone(), file, id: new_id.to_owned(), records: BTreeMap::new() };
        let mut lines = text[..whole].lines();
        match lines.next() {
            None => ledger.append(&Header { study: study.to_owned(), id: new_id.to_owned() })?,
            Some(line) => {
                let header: Header = serde_json::from_str(line).map_err(|error| wrong(&path, 1, &error))?;
                if header.study != study {
                    let problem =
                        format!("holds the runs of the study {:?}, this one is {study:?}", header.study);
                    return Err(CliError::Occupied { path: folder.to_owned(), reason: problem });
                }
                ledger.id = header.id;
            }
        }
        for (line, number) in lines.zip(2_usize..) {
            let record: Record = serde_json::from_str(line).map_err(|error| wrong(&path, number, &error))?;
            ledger.records.insert(record.key.clone(), record);
        }
        Ok(ledger)
    }

    /// The finished run with an identity.
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    /// All finished runs.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Adds a finished run. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, record: Record) -> Result<(), CliError> {
        self.append(&record)?;
        self.records.insert(record.key.clone(), record);
        Ok(())
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), CliError> {
        let write = |error| CliError::write(&self.path, error);
        let line = serde_json::to_string(line).map_err(|error| write(error.into()))?;
        (&self.file).write_all(format!("{line}\n").as_bytes()).map_err(write)?;
        self.file.sync_data().map_err(write)
    }
}

fn wrong(path: &Path, line: usize, error: &serde_json::Error) -> CliError {
    CliError::Usage(format!("{}: line {line} is no run of a study: {error}", path.display()))
}

#[cfg(test)]
mod tests;
