//! The rows of a Parquet file, value by value; columns that nobody asked for are not decoded.

use super::file::{ParquetFile, guarded};
use super::metadata;
use super::schema::{Kind, Leaf};
use super::values::{Column, Pixels, Stored, VALUE};
use crate::loading::{Lent, Loading};
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Most rows that are decoded at once, and about how many bytes of them.
const ROWS: usize = 1024;
const BYTES: u64 = 1 << 23;
/// Rows of large values that are read until their bytes are counted.
const STEP: usize = 16;

/// What a column is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Nothing,
    /// Whole numbers or texts.
    Label,
    /// Numbers, truth values or texts.
    Value,
    Image,
}

/// A value of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowValue<'a> {
    Null,
    /// It was not read.
    Unread,
    Truth(bool),
    Whole(i64),
    Number(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Pixels(&'a Pixels),
}

/// Reads the rows of a file.
pub(crate) struct StoredRows<'a> {
    source: &'a Source,
    file: ParquetFile<'a>,
    /// Whether the column at each place is read.
    wanted: Vec<bool>,
    /// The next group, the columns of the present one at their places, and its rows that are left.
    group: usize,
    columns: Vec<Option<Column>>,
    left: u64,
    block: Block,
    /// Place of the next value in its row.
    place: usize,
}

/// Rows that were decoded.
struct Block {
    /// The values of each column.
    values: Vec<Vec<Stored>>,
    rows: usize,
    /// The next of them.
    at: usize,
    /// The number in the file of the first of them.
    first: u64,
    /// Their memory.
    lent: Lent,
}

impl<'a> StoredRows<'a> {
    pub(crate) fn open(source: &'a Source, loading: &Loading) -> Result<Self, DataError> {
        let file = guarded(source, loading, || ParquetFile::open(source, loading))?;
        let places = file.leaves.len();
        let values = (0..places).map(|_| Vec::new()).collect();
        let block = Block { values, rows: 0, at: 0, first: 0, lent: loading.lend(0)? };
        let wanted = vec![false; places];
        Ok(Self { source, file, wanted, group: 0, columns: Vec::new(), left: 0, block, place: 0 })
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> Vec<String> {
        self.file.leaves.iter().map(|leaf| leaf.name.clone()).collect()
    }

    /// Number of rows that the file says it has.
    pub(crate) fn rows(&self) -> u64 {
        self.file.rows
    }

    /// Names of the columns that pandas made of the index of a table.
    pub(crate) fn index_columns(&self) -> Vec<String> {
        metadata::index_columns(self.file.metadata("pandas").as_ref())
    }

    /// The names of the classes of a column of labels, if the file has them.
    pub(crate) fn class_names(&self, label: &str) -> Option<Vec<String>> {
        let is_whole = |leaf: &&Leaf| leaf.name == label && matches!(leaf.kind, Kind::Whole | Kind::Unsigned);
        self.file.leaves.iter().find(is_whole)?;
        metadata::class_names(self.file.metadata("huggingface").as_ref(), label)
    }

    /// Says what each column is read for, before the first row is.
    pub(crate) fn select(&mut self, purpose: impl Fn(usize) -> Purpose) -> Result<(), DataError> {
        for (place, leaf) in self.file.leaves.iter().enumerate() {
            const VALUES: &str = "numbers, truth values or texts";
            let expected = match purpose(place) {
                Purpose::Nothing => continue,
                Purpose::Label if !leaf.is_value() => "whole numbers or texts".to_owned(),
                Purpose::Value if !leaf.is_value() && leaf.is_image() => {
                    format!("{VALUES}; image = {:?} reads images", leaf.name)
                }
                Purpose::Value if !leaf.is_value() => VALUES.to_owned(),
                Purpose::Image if !leaf.is_image() => {
                    "images: binary, names of files, or lists of pixels".to_owned()
                }
                Purpose::Label | Purpose::Value | Purpose::Image => {
                    self.wanted[place] = true;
                    continue;
                }
            };
            let (column, found) = (leaf.name.clone(), leaf.type_name.clone());
            return Err(self.source.error(FileProblem::ColumnType { column, found, expected }));
        }
        Ok(())
    }

    /// The number of the row of the next value, from 0.
    pub(crate) fn row_of_next(&self) -> u64 {
        self.block.first + self.block.at as u64
    }

    /// The next value, and whether it is the last of its row; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<(RowValue<'_>, bool)>, DataError> {
        if self.place == 0 && self.block.at == self.block.rows && !self.fill()? {
            return Ok(None);
        }
        let (place, at) = (self.place, self.block.at);
        self.place += 1;
        let ends_row = self.place == self.wanted.len();
        if ends_row {
            (self.place, self.block.at) = (0, at + 1);
        }
        if !self.wanted[place] {
            return Ok(Some((RowValue::Unread, ends_row)));
        }
        let is_text = self.file.leaves[place].kind == Kind::Text;
        let value = match &self.block.values[place][at] {
            Stored::Null => RowValue::Null,
            Stored::Truth(value) => RowValue::Truth(*value),
            Stored::Whole(value) => RowValue::Whole(*value),
            Stored::Number(value) => RowValue::Number(*value),
            Stored::Bytes(bytes) if is_text => RowValue::Text(bytes.data()),
            Stored::Bytes(bytes) => RowValue::Bytes(bytes.data()),
            Stored::Pixels(pixels) => RowValue::Pixels(pixels),
        };
        Ok(Some((value, ends_row)))
    }

    /// Decodes the next rows; returns whether there are any.
    fn fill(&mut self) -> Result<bool, DataError> {
        let (source, loading) = (self.source, self.file.loading.clone());
        guarded(source, &loading, || self.fill_unguarded())
    }

    fn fill_unguarded(&mut self) -> Result<bool, DataError> {
        let Self { file, block, columns, .. } = self;
        block.first += block.rows as u64;
        (block.rows, block.at) = (0, 0);
        block.values.iter_mut().for_each(Vec::clear);
        block.lent.shrink(0);
        columns.iter().flatten().for_each(|column| column.held.release());
        while self.left == 0 {
            if self.group == file.groups() {
                return Ok(false);
            }
            columns.clear();
            (self.left, *columns) = file.group(self.group, &self.wanted)?;
            self.group += 1;
        }
        let wanted = self.wanted.iter().filter(|&&wanted| wanted).count() as u64;
        let row = VALUE * wanted.max(1);
        let rows = self.left.min(ROWS as u64).min((BYTES / row).max(1)) as usize;
        block.lent.grow(2 * row * rows as u64)?;
        let read = block.read(file, columns, rows);
        let rows = read.map_err(|error| file.not_read(error))?;
        block.rows = rows;
        self.left -= rows as u64;
        Ok(true)
    }
}

impl Block {
    /// Reads at most so many rows, fewer if their values are large; returns how many.
    fn read(
        &mut self,
        file: &ParquetFile<'_>,
        columns: &mut [Option<Column>],
        rows: usize,
    ) -> Result<usize, super::values::NotRead> {
        let Self { values, first, lent, .. } = self;
        let heavy = columns.iter().position(|column| column.as_ref().is_some_and(Column::is_heavy));
        let mut read = rows;
        if let Some((place, column)) = heavy.and_then(|place| Some((place, columns[place].as_mut()?))) {
            let (values, mut bytes) = (&mut values[place], 0);
            while values.len() < rows && bytes < BYTES {
                let (before, wanted) = (values.len(), STEP.min(rows - values.len()));
                column.read(wanted, *first + before as u64, values, lent, &file.loading)?;
                bytes += values[before..].iter().map(Stored::bytes).sum::<u64>();
            }
            read = values.len();
        }
        for (place, column) in columns.iter_mut().enumerate().filter(|(place, _)| Some(*place) != heavy) {
            if let Some(column) = column {
                column.read(read, *first, &mut values[place], lent, &file.loading)?;
            }
        }
        Ok(read)
    }
}
