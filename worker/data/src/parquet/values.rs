//! The values of a column, a block of rows at a time.

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType, FixedLenByteArray};
use ::parquet::errors::ParquetError;

use super::counted::Held;
use super::lists::{Element, listed};
use super::schema::{Kind, Leaf};
use crate::loading::{Lent, Loading};
use crate::{DataError, FileProblem};

/// Bytes of a value in memory, without those of a page.
pub(super) const VALUE: u64 = 48;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    Null,
    Truth(bool),
    Whole(i64),
    Number(f64),
    Bytes(ByteArray),
    Pixels(Box<Pixels>),
}

/// Pixels from 0 to 255 with the lengths of the lists that they stand in, the outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) lengths: Vec<usize>,
    pub(crate) values: Vec<u8>,
}

/// Why rows were not read.
pub(super) enum NotRead {
    /// What they contain.
    Problem(FileProblem),
    /// The reader's error.
    Reader(ParquetError),
    Other(DataError),
}

impl From<FileProblem> for NotRead {
    fn from(problem: FileProblem) -> Self {
        Self::Problem(problem)
    }
}

impl From<ParquetError> for NotRead {
    fn from(error: ParquetError) -> Self {
        Self::Reader(error)
    }
}

impl From<DataError> for NotRead {
    fn from(error: DataError) -> Self {
        Self::Other(error)
    }
}

/// A column of a group of rows that is being read.
pub(super) struct Column {
    pub(super) leaf: Leaf,
    pub(super) reader: ColumnReader,
    pub(super) held: Held,
    /// Most bytes of a value that does not stand in a page as it is, but is put together by its decoder; 0 if none is.
    pub(super) copied: u64,
}

impl Column {
    /// Whether the values may be large, so that few are read at once.
    pub(super) fn is_heavy(&self) -> bool {
        matches!(self.leaf.kind, Kind::Binary | Kind::Text) || self.leaf.lists > 0
    }

    /// Appends the values of the next rows, of which the first is row `first` of the file; the memory of values that are
    /// put together is charged to `lent`.
    pub(super) fn read(
        &mut self,
        rows: usize,
        first: u64,
        values: &mut Vec<Stored>,
        lent: &mut Lent,
        loading: &Loading,
    ) -> Result<(), NotRead> {
        let at_once = if self.copied > 0 { 1 } else { rows.max(1) };
        let end = values.len() + rows;
        let mut row = first;
        while values.len() < end {
            loading.check().map_err(DataError::from)?;
            let wanted = at_once.min(end - values.len());
            let mut room = loading.lend(self.copied)?;
            let before = values.len();
            self.read_some(wanted, row, values)?;
            let taken = values[before..].iter().map(Stored::bytes).sum::<u64>();
            room.shrink(0);
            if self.copied > 0 || self.leaf.lists > 0 {
                lent.grow(taken)?;
            }
            row += wanted as u64;
        }
        Ok(())
    }

    fn read_some(&mut self, rows: usize, first: u64, values: &mut Vec<Stored>) -> Result<(), NotRead> {
        let leaf = &self.leaf;
        match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => read(reader, leaf, rows, first, values, Stored::Truth),
            ColumnReader::Int32ColumnReader(reader) => {
                read(reader, leaf, rows, first, values, |value| match leaf.kind {
                    Kind::Unsigned => Stored::Whole(i64::from(value as u32)),
                    Kind::Decimal(scale) => Stored::Number(f64::from(value) / ten_to(scale)),
                    _ => Stored::Whole(i64::from(value)),
                })
            }
            ColumnReader::Int64ColumnReader(reader) => {
                read(reader, leaf, rows, first, values, |value| match leaf.kind {
                    Kind::Unsigned if value < 0 => Stored::Number(value as u64 as f64),
                    Kind::Decimal(scale) => Stored::Number(value as f64 / ten_to(scale)),
                    _ => Stored::Whole(value),
                })
            }
            ColumnReader::FloatColumnReader(reader) => {
                read(reader, leaf, rows, first, values, |value| Stored::Number(f64::from(value)))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                read(reader, leaf, rows, first, values, Stored::Number)
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                read(reader, leaf, rows, first, values, |value| of_bytes(value, leaf.kind))
            }
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                read(reader, leaf, rows, first, values, |value: FixedLenByteArray| {
                    of_bytes((*value).clone(), leaf.kind)
                })
            }
            ColumnReader::Int96ColumnReader(_) => Err(ends(leaf, first)),
        }
    }
}

impl Stored {
    /// Bytes of the value in addition to [`VALUE`].
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pixels(pixels) => pixels.values.len() as u64,
            _ => 0,
        }
    }
}

/// Ten to the power of a scale, as the text of the number gives it.
fn ten_to(scale: i32) -> f64 {
    format!("1e{scale}").parse().unwrap_or(f64::NAN)
}

fn of_bytes(bytes: ByteArray, kind: Kind) -> Stored {
    match (kind, bytes.data()) {
        (Kind::Half, &[low, high]) => Stored::Number(half::f16::from_le_bytes([low, high]).to_f64()),
        (Kind::Decimal(scale), data) if data.len() <= 16 => {
            let sign = if data.first().is_some_and(|byte| byte & 0x80 > 0) { 0xff } else { 0 };
            let mut number = [sign; 16];
            number[16 - data.len()..].copy_from_slice(data);
            Stored::Number(i128::from_be_bytes(number) as f64 / ten_to(scale))
        }
        (Kind::Half | Kind::Decimal(_), _) => Stored::Number(f64::NAN),
        _ => Stored::Bytes(bytes),
    }
}

/// Appends the values of the next rows.
fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    leaf: &Leaf,
    rows: usize,
    first: u64,
    into: &mut Vec<Stored>,
    convert: impl Fn(T::T) -> Stored,
) -> Result<(), NotRead> {
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    let mut done = 0;
    while done < rows {
        let (records, _, _) =
            reader.read_records(rows - done, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
        if records == 0 {
            return Err(ends(leaf, first + done as u64));
        }
        done += records;
    }
    let mut values = values.into_iter().map(convert);
    let missing = || ends(leaf, first);
    if leaf.lists > 0 {
        let elements = definitions.iter().zip(&repetitions).map(|(&defined, &repeated)| {
            let value = if defined == leaf.defined { values.next() } else { None };
            Element { repeated, value }
        });
        return listed(leaf, first, elements, into);
    }
    if leaf.defined == 0 {
        into.extend(values);
        return Ok(());
    }
    for &defined in &definitions {
        into.push(if defined == leaf.defined { values.next().ok_or_else(missing)? } else { Stored::Null });
    }
    Ok(())
}

/// A column that has fewer values than the file has rows.
fn ends(leaf: &Leaf, row: u64) -> NotRead {
    let reason = format!("column {:?} ends at row {row}", leaf.name);
    FileProblem::Damaged { format: "Parquet", reason }.into()
}
