//! Tables in Parquet: images as on the Hugging Face hub, or numbers, truth values and texts by column. What they mean is
//! decided as for tables in CSV (`table.rs`); reading the files needs the feature `parquet`, the parameters are checked
//! without it.

#[cfg(feature = "parquet")]
mod claims;
#[cfg(feature = "parquet")]
mod counted;
#[cfg(feature = "parquet")]
mod file;
#[cfg(feature = "parquet")]
mod headers;
#[cfg(feature = "parquet")]
mod lists;
#[cfg(feature = "parquet")]
mod metadata;
#[cfg(feature = "parquet")]
mod packing;
#[cfg(feature = "parquet")]
mod pages;
#[cfg(feature = "parquet")]
mod rows;
#[cfg(feature = "parquet")]
mod schema;
#[cfg(feature = "parquet")]
mod values;

use lookbehind_common::job::{JobError, Parameters};

use super::table::{self, Format};
use super::{DataEnvironment, DataError, Dataset, InputSpec};
#[cfg(feature = "parquet")]
pub(super) use rows::{Purpose, RowValue, StoredRows};
#[cfg(feature = "parquet")]
pub(super) use values::Pixels;

/// Loads a table from one or more Parquet files for each split: images [channels, height, width] from 0 to 1, or inputs of
/// the given shape, by default one element for each column.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a file is missing, damaged, too large, lacks a column, or holds values
/// that cannot be used (this worker's).
pub fn parquet(
    parameters: &Parameters,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    #[cfg(not(feature = "parquet"))]
    {
        input_spec(parameters)?;
        let _environment = environment;
        Err(not_built())
    }
    #[cfg(feature = "parquet")]
    table::load(Format::Parquet, parameters, environment)
}

/// That this program reads no Parquet files.
#[cfg(not(feature = "parquet"))]
pub(super) fn not_built() -> DataError {
    DataError::NotBuilt { key: "data.kind".to_owned(), what: "Parquet files", feature: "parquet" }
}

/// The input spec, without reading files; `None` unless the job says what the samples are, and their sizes.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    table::input_spec_of(Format::Parquet, parameters)
}

#[cfg(test)]
#[cfg(feature = "parquet")]
mod tests;

#[cfg(test)]
#[cfg(not(feature = "parquet"))]
mod absent;
