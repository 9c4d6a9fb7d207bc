//! `metrics.jsonl`: one line of JSON per outer step, with the fields of the protocol's `OuterStepMetrics`. The fields
//! that differ between equal jobs, `workers` and `time`, come last.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use lookbehind_common::text::printable_json;
use lookbehind_proto::json::StepJson;

use crate::error::CliError;

/// The metrics file. It grows while the job runs.
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Creates a file. It must not be there yet: another one, or what a link leads to, is not written to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: &Path) -> Result<Self, CliError> {
        let file = File::options().write(true).create_new(true).open(path);
        let file = file.map_err(|error| CliError::write(path, error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a line in one write, so that at most the last line can be incomplete for a reader.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, step: &StepJson) -> Result<(), CliError> {
        let line = serde_json::to_string(step).map_err(|error| CliError::write(&self.path, error.into()))?;
        let line = format!("{}\n", printable_json(&line));
        self.file.write_all(line.as_bytes()).map_err(|error| CliError::write(&self.path, error))
    }
}

#[cfg(test)]
mod tests;
