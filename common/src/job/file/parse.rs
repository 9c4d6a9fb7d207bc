//! Reads job files, and the parameters of models and data sets.

use serde::de::DeserializeOwned;

use super::JobFile;
use crate::job::parameters::normalise_parameters;
use crate::job::suggest::with_suggestion;
use crate::job::{JobError, Parameters};

/// Parses a job file.
///
/// # Errors
/// If the text is not TOML, a key is unknown or missing, a value has the wrong type, or a parameter cannot be sent
/// without loss. The error names the key by its path.
pub fn parse_toml(text: &str) -> Result<JobFile, JobError> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| JobError::syntax(&error))?;
    let mut file: JobFile = serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        JobError::new(if path == "." { "job" } else { &path }, &with_suggestion(error.inner().message()))
    })?;
    normalise_parameters("model", &mut file.model.parameters)?;
    normalise_parameters("data", &mut file.data.parameters)?;
    Ok(file)
}

/// Reads the parameters of a model or data set into the type that its kind defines for them.
///
/// # Errors
/// If a key is unknown or missing, or a value has the wrong type. The error names the key as `section.key`.
pub fn parse_parameters<T: DeserializeOwned>(section: &str, parameters: &Parameters) -> Result<T, JobError> {
    let value = serde_json::Value::Object(parameters.clone());
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { section.to_owned() } else { format!("{section}.{path}") };
        JobError::new(&path, &with_suggestion(&error.inner().to_string()))
    })
}
