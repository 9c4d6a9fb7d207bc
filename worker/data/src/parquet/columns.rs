//! The two columns of a Parquet file that are read.

use ::parquet::basic::Type;
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use crate::FileProblem;

/// A column of the file.
pub(super) struct Column {
    /// Index of the column in the file.
    pub(super) index: usize,
    pub(super) name: String,
    /// Greatest definition level: a smaller one means that the value is null.
    defined: i16,
}

impl Column {
    /// Describes a row of the column, for errors.
    pub(super) fn place(&self, row: usize) -> String {
        format!("row {row}, column {:?}", self.name)
    }
}

pub(super) struct Columns {
    pub(super) image: Column,
    pub(super) label: Column,
}

impl Columns {
    /// Finds the columns by the job's names, or by the usual ones.
    pub(super) fn find(
        schema: &SchemaDescriptor,
        image: Option<&str>,
        label: Option<&str>,
    ) -> Result<Self, FileProblem> {
        let images: &[&str] = image.as_ref().map_or(&["image", "img"], std::slice::from_ref);
        let image = find(schema, images, &[".bytes", ""], "binary", |column| {
            column.physical_type() == Type::BYTE_ARRAY
        })?;
        let label = find(schema, &[label.unwrap_or("label")], &[""], "whole numbers", |column| {
            matches!(column.physical_type(), Type::INT32 | Type::INT64)
        })?;
        Ok(Self { image, label })
    }
}

fn find(
    schema: &SchemaDescriptor,
    names: &[&str],
    suffixes: &[&str],
    expected: &'static str,
    fits: impl Fn(&ColumnDescriptor) -> bool,
) -> Result<Column, FileProblem> {
    for name in names {
        for suffix in suffixes {
            let path = format!("{name}{suffix}");
            let found =
                schema.columns().iter().enumerate().find(|(_, column)| column.path().string() == path);
            let Some((index, column)) = found else { continue };
            if !fits(column) || column.max_rep_level() > 0 {
                let list = if column.max_rep_level() > 0 { "list of " } else { "" };
                let found = format!("{list}{}", column.physical_type());
                return Err(FileProblem::ColumnType { column: path, found, expected });
            }
            return Ok(Column { index, name: (*name).to_owned(), defined: column.max_def_level() });
        }
    }
    Err(FileProblem::NoColumn { column: names.join(" or "), present: present(schema) })
}

/// The names of the columns that are there, as many as an error can reasonably list.
fn present(schema: &SchemaDescriptor) -> String {
    const SHOWN: usize = 20;
    let fields = schema.root_schema().get_fields();
    let mut names: Vec<&str> = fields.iter().take(SHOWN).map(|field| field.name()).collect();
    if fields.len() > SHOWN {
        names.push("…");
    }
    names.join(", ")
}

/// Why rows were not read.
pub(super) enum NotRead {
    /// What they contain.
    Problem(FileProblem),
    /// The reader's error.
    Reader(ParquetError),
}

impl From<FileProblem> for NotRead {
    fn from(problem: FileProblem) -> Self {
        Self::Problem(problem)
    }
}

/// Reads rows of a column, and refuses nulls.
fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    column: &Column,
    first: usize,
) -> Result<Vec<T::T>, NotRead> {
    let (mut values, mut levels) = (Vec::with_capacity(rows), Vec::new());
    while values.len() < rows {
        let before = levels.len();
        let (records, _, _) = reader
            .read_records(rows - values.len(), Some(&mut levels), None, &mut values)
            .map_err(NotRead::Reader)?;
        if let Some(null) = levels.iter().skip(before).position(|&level| level < column.defined) {
            let place = column.place(first + before + null);
            let (found, expected) = ("null".into(), "a value".into());
            return Err(FileProblem::Cell { place, found, expected }.into());
        }
        if records == 0 {
            let what = format!("column {:?}", column.name);
            let reason = format!("{what} ends at row {}", first + values.len());
            return Err(FileProblem::Damaged { format: "Parquet", reason }.into());
        }
    }
    Ok(values)
}

/// Reads the images of some rows; `first` is the index of the first of them in the file.
pub(super) fn read_images(
    reader: &mut ColumnReader,
    rows: usize,
    column: &Column,
    first: usize,
) -> Result<Vec<ByteArray>, NotRead> {
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => read(reader, rows, column, first),
        _ => Err(wrong_reader(column)),
    }
}

/// Reads the labels of some rows, which must be below `classes`.
pub(super) fn read_labels(
    reader: &mut ColumnReader,
    rows: usize,
    column: &Column,
    first: usize,
    classes: usize,
) -> Result<Vec<u32>, NotRead> {
    let labels: Vec<i64> = match reader {
        ColumnReader::Int32ColumnReader(reader) => {
            read(reader, rows, column, first)?.into_iter().map(i64::from).collect()
        }
        ColumnReader::Int64ColumnReader(reader) => read(reader, rows, column, first)?,
        _ => return Err(wrong_reader(column)),
    };
    let class = |(row, label): (usize, i64)| {
        let known = u32::try_from(label).ok().filter(|&label| (label as usize) < classes);
        known.ok_or_else(|| FileProblem::label(&column.place(first + row), label, classes).into())
    };
    labels.into_iter().enumerate().map(class).collect()
}

/// The reader is not of the type that the schema promised.
fn wrong_reader(column: &Column) -> NotRead {
    let reason = format!("column {:?} has not the type that the schema says", column.name);
    FileProblem::Damaged { format: "Parquet", reason }.into()
}
