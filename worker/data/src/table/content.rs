//! What a table holds: samples of numbers or of images, and names for its classes.

use lookbehind_common::job::JobError;

use super::columns::Rules;
use super::parameters::{Missing, TableParameters};
use super::rows::{Format, Rows};
use super::{header, images};
use crate::loading::Loading;
use crate::source::Source;
use crate::{DataError, FileProblem};

/// What the samples of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Numbers, truth values and texts by column.
    Columns,
    Images,
    /// Whichever the columns of the first file say.
    Found,
}

impl TableParameters {
    /// What the samples are, as far as the job says it.
    pub(super) fn content(&self, format: Format) -> Content {
        match format {
            _ if self.image.is_some() => Content::Images,
            Format::Csv => Content::Columns,
            Format::Parquet if self.of_form.is_some() || self.root.is_some() => Content::Images,
            Format::Parquet if self.of_columns().is_some() => Content::Columns,
            Format::Parquet => Content::Found,
        }
    }

    /// A key that only tables of numbers have.
    fn of_columns(&self) -> Option<&'static str> {
        let keys = [
            ("columns", self.columns.is_some()),
            ("exclude", !self.exclude.is_empty()),
            ("one_hot", !self.one_hot.is_empty()),
            ("ordinal", !self.ordinal.is_empty()),
            ("missing", matches!(self.missing, Missing::Replace(_))),
        ];
        keys.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }

    /// Refuses keys that what the samples are gives no meaning.
    pub(super) fn check_content(&self, format: Format) -> Result<(), JobError> {
        let shape = (format == Format::Csv && self.shape.is_some()).then_some("shape");
        let (key, problem) = match self.content(format) {
            Content::Images => (
                self.of_columns().or(shape),
                if self.image.is_some() {
                    "has no meaning with data.image; remove it"
                } else {
                    "has no meaning for images; remove it"
                },
            ),
            Content::Columns => (
                self.of_form.or(self.root.is_some().then_some("root")),
                "has no meaning without data.image, the column of images",
            ),
            Content::Found => (None, ""),
        };
        key.map_or(Ok(()), |key| Err(JobError::new(&format!("data.{key}"), problem)))
    }
}

/// Whether the samples are images: the job says it, or the first file has a column of them.
pub(super) fn is_of_images(
    format: Format,
    parameters: &TableParameters,
    train: &[Source],
    loading: &Loading,
) -> Result<bool, DataError> {
    let Some(first) = train.first().filter(|_| parameters.content(format) == Content::Found) else {
        return Ok(parameters.content(format) == Content::Images);
    };
    let (dialect, mut lent) = (parameters.dialect()?, loading.lend(0)?);
    let mut rows = Rows::open(format, first, &dialect, loading)?;
    let header = rows.header(first, parameters.header, &dialect, loading, &mut lent)?;
    Ok(header.iter().any(|name| images::USUAL.contains(&name.as_str())))
}

/// The names of the classes, if the files have them; all of them must have the same.
pub(super) fn class_names(
    format: Format,
    rules: &Rules,
    label: &str,
    splits: [&[Source]; 2],
    loading: &Loading,
) -> Result<Option<Vec<String>>, DataError> {
    if format == Format::Csv {
        return Ok(None);
    }
    let mut known: Option<Vec<String>> = None;
    for file in splits.into_iter().flatten() {
        let names = Rows::open(format, file, &rules.dialect, loading)?.class_names(label);
        match (&known, names) {
            (Some(known), Some(names)) if *known != names => {
                let place = format!("column {label:?}");
                let found = format!("classes {}", header::listed(&names));
                let expected = format!("those of the first file: {}", header::listed(known));
                return Err(file.error(FileProblem::Cell { place, found, expected }));
            }
            (None, Some(names)) => known = Some(names),
            _ => {}
        }
    }
    Ok(known)
}
