//! Image data sets in Parquet, as on the Hugging Face hub: a column with the bytes of PNG or JPEG files, either alone
//! or in a group `{bytes, path}`, and a column of integers as labels. Reading them needs the feature `parquet`; the
//! parameters are checked without it.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
mod counted;
#[cfg(feature = "parquet")]
mod headers;
#[cfg(feature = "parquet")]
mod pages;
#[cfg(feature = "parquet")]
mod read;

use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::image::FormParameters;
use super::keys;
use super::source::Paths;
use super::{DataEnvironment, DataError, Dataset, InputSpec, check_classes};
#[cfg(feature = "parquet")]
use read::read;

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "checked, but not read"))]
struct ParquetParameters {
    train: Paths,
    test: Option<Paths>,
    /// Name of the column of images; by default `image` or `img`.
    image: Option<String>,
    /// Name of the column of labels; by default `label`.
    label: Option<String>,
    classes: Option<u64>,
}

/// Loads images and labels from one or more Parquet files for each split: inputs [channels, height, width] from 0 to 1.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a file is missing, damaged, too large, lacks a column, or holds
/// images or labels that cannot be used (this worker's).
pub fn parquet(
    parameters: &Parameters,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let parameters: ParquetParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    read(&parameters, form, classes, environment)
}

#[cfg(not(feature = "parquet"))]
fn read(
    _parameters: &ParquetParameters,
    _form: FormParameters,
    _classes: Option<usize>,
    _environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    Err(DataError::NotBuilt { key: "data.kind".to_owned(), what: "Parquet files", feature: "parquet" })
}

/// The input spec, without reading files; `None` unless the job gives size, channels and classes.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let parameters: ParquetParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    Ok(form.input_spec(None, None, classes))
}

#[cfg(test)]
#[cfg(feature = "parquet")]
mod tests;

#[cfg(test)]
#[cfg(not(feature = "parquet"))]
mod absent;
