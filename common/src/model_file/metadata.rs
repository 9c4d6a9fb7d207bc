//! What model files say beside the tensors.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use super::{ModelFileError, TensorView, write_to};

/// Key of the metadata with the names of the classes, in the order of the model's outputs: a list in JSON.
pub const CLASSES: &str = "classes";
/// Key of the metadata with what was read of the data that the model was trained on: a list of lines in JSON.
pub const DATA: &str = "data";
/// Key of the metadata with the job file of the model.
pub const JOB: &str = "job";

/// The value of [`CLASSES`] or [`DATA`] for these names or lines.
pub fn list_text(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// The names of the classes that a model file has in its metadata; empty if it has none.
///
/// # Errors
/// If the file is damaged, or its names are not a list of texts.
pub fn class_names(bytes: &[u8]) -> Result<Vec<String>, ModelFileError> {
    list(bytes, CLASSES)
}

/// What a model file's metadata say of the data that it was trained on, in lines; empty if they say nothing.
///
/// # Errors
/// If the file is damaged, or what it says is not a list of texts.
pub fn data_report(bytes: &[u8]) -> Result<Vec<String>, ModelFileError> {
    list(bytes, DATA)
}

/// The list of texts that the metadata have under a key; empty if they do not have it.
fn list(bytes: &[u8], key: &str) -> Result<Vec<String>, ModelFileError> {
    metadata(bytes, key)?.map_or(Ok(Vec::new()), |text| {
        serde_json::from_str(&text)
            .map_err(|error| ModelFileError::Header { reason: format!("metadata {key:?}: {error}") })
    })
}

/// A value of a model file's metadata; `None` if it has none under this key.
///
/// # Errors
/// If the file is damaged.
pub fn metadata(bytes: &[u8], key: &str) -> Result<Option<String>, ModelFileError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    Ok(header.metadata().as_ref().and_then(|metadata| metadata.get(key)).cloned())
}

/// The same file with more metadata, which replace those of the same keys.
///
/// # Errors
/// If the file is damaged.
pub fn with_metadata(bytes: &[u8], more: &BTreeMap<&str, String>) -> Result<Vec<u8>, ModelFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let known = header.metadata().clone().unwrap_or_default();
    let mut metadata: BTreeMap<&str, String> =
        known.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    metadata.extend(more.iter().map(|(key, value)| (*key, value.clone())));
    let tensors: Vec<_> = file.iter().collect();
    let tensors = tensors.iter().map(|(name, tensor)| {
        let view = TensorView { dtype: tensor.dtype(), shape: tensor.shape(), bytes: tensor.data() };
        (*name, view)
    });
    let mut written = Vec::new();
    write_to(&mut written, tensors, &metadata)?;
    Ok(written)
}
