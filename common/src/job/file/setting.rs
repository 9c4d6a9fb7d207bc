//! Changes of single keys of a job file: `KEY=VALUE` on a command line.

use std::str::FromStr;

use toml::{Table, Value};

use crate::job::JobError;

/// A key of a job file and its new value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The path of the key, with dots.
    path: String,
    /// `None` removes the key, so that its default holds.
    value: Option<Value>,
}

impl Setting {
    /// Sets the key at a path, with dots, to a value.
    pub fn new(path: &str, value: impl Into<Value>) -> Self {
        Self { path: path.to_owned(), value: Some(value.into()) }
    }
}

impl FromStr for Setting {
    type Err = JobError;

    /// Parses `KEY=VALUE`. The value is what may stand in a job file; a text needs no quotes where it is nothing else.
    /// Without a value, the key is removed.
    fn from_str(text: &str) -> Result<Self, JobError> {
        let Some((path, value)) = text.split_once('=') else {
            return Err(JobError::new(text, "expected KEY=VALUE, for example train.epochs=40"));
        };
        let (path, value) = (path.trim(), value.trim());
        if path.split('.').any(|key| key.trim().is_empty()) {
            return Err(JobError::new(text, "expected a key before \"=\", for example train.epochs=40"));
        }
        let value = (!value.is_empty()).then(|| parsed(value));
        Ok(Self { path: path.to_owned(), value })
    }
}

/// A value as TOML has it, or the text itself.
fn parsed(text: &str) -> Value {
    let line = format!("value = {text}").parse::<Table>();
    // More than one key: the text has several lines, and is no value.
    let value = line.ok().filter(|line| line.len() == 1).and_then(|mut line| line.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The text of a job file after changes, in their order. Without changes it is the same text; otherwise comments are lost.
///
/// # Errors
/// If the text is not TOML, or a key lies in what is not a section.
pub fn apply_settings(text: &str, settings: &[Setting]) -> Result<String, JobError> {
    if settings.is_empty() {
        return Ok(text.to_owned());
    }
    let mut file: Table = text.parse().map_err(|error| JobError::syntax(&error))?;
    for setting in settings {
        setting.apply(&mut file)?;
    }
    toml::to_string(&file).map_err(|error| JobError::new("job file", &error.to_string()))
}

impl Setting {
    fn apply(&self, file: &mut Table) -> Result<(), JobError> {
        let mut keys: Vec<&str> = self.path.split('.').map(str::trim).collect();
        let last = keys.pop().unwrap_or(&self.path);
        let mut section = file;
        for key in keys {
            let entry = section.entry(key.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else {
                return Err(JobError::new(&self.path, &format!("{key} is not a section")));
            };
            section = inner;
        }
        match &self.value {
            Some(value) => section.insert(last.to_owned(), value.clone()),
            None => section.remove(last),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
