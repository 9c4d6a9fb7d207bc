//! The files of a table: on the disk, remote, and of CSV also in archives.

use super::rows::Format;
use crate::folder::is_image;
use crate::places::Places;
use crate::source::{Paths, Source};
use crate::{DataEnvironment, DataError};

/// Finds the files that a job names at `key`.
pub(super) fn find(
    format: Format,
    paths: &Paths,
    key: &str,
    environment: &DataEnvironment,
    places: &Places<'_>,
) -> Result<Vec<Source>, DataError> {
    match format {
        Format::Csv => places.files_or_only(paths, key, is_table),
        Format::Parquet => Source::find_all(environment, paths.as_slice(), key),
    }
}

/// Whether a file in an archive is a table, by its name; systems add files of their own.
fn is_table(path: &str) -> bool {
    let path = path.to_lowercase();
    let plain = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".zst")).unwrap_or(&path);
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_foreign = path.starts_with("__macosx/") || name.starts_with('.');
    (plain.ends_with(".csv") || plain.ends_with(".tsv")) && !is_foreign
}

/// Whether a table or an image in a compressed archive may be asked for.
pub(super) fn may_be_asked_for(path: &str) -> bool {
    is_image(path) || is_table(path) || path.ends_with(".txt") || path.ends_with(".data")
}
