//! The rows of a table, value by value, whatever format its file has.

use super::cells::{Cell, Cells};
use super::header::{Use, shorten};
use super::parameters::Dialect;
use crate::loading::{Lent, Loading};
#[cfg(feature = "parquet")]
use crate::parquet::{Pixels, Purpose, RowValue, StoredRows};
use crate::source::Source;
use crate::{DataError, FileProblem};

/// What a file of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Parquet,
}

impl Format {
    /// The name of a file's format, for errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Parquet => "Parquet",
        }
    }
}

/// A value in a row.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "texts have values of one kind"))]
pub(super) enum Value<'a> {
    Null,
    /// It was not read, as nobody needs it.
    Unread,
    Truth(bool),
    Whole(i64),
    Number(f64),
    /// Text, in UTF-8 unless the file is wrong.
    Text(&'a [u8]),
    /// The bytes of an image's file.
    Bytes(&'a [u8]),
    #[cfg(feature = "parquet")]
    Pixels(&'a Pixels),
}

impl Value<'_> {
    /// Whether nothing stands there.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Null | Self::Text([]))
    }

    /// The value for errors.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null | Self::Unread => "null".to_owned(),
            Self::Truth(value) => value.to_string(),
            Self::Whole(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) => format!("{:?}", shorten(String::from_utf8_lossy(text).trim())),
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
            #[cfg(feature = "parquet")]
            Self::Pixels(pixels) => format!("{} pixels", pixels.values.len()),
        }
    }
}

/// A value, and whether it is the last of its row.
pub(super) struct Entry<'a> {
    pub(super) value: Value<'a>,
    pub(super) ends_row: bool,
}

/// The rows of a file.
pub(super) enum Rows<'a> {
    Csv(Box<Cells<'a>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<StoredRows<'a>>),
}

impl<'a> Rows<'a> {
    pub(super) fn open(
        format: Format,
        file: &'a Source,
        dialect: &Dialect,
        loading: &Loading,
    ) -> Result<Self, DataError> {
        match format {
            Format::Csv => Ok(Self::Csv(Box::new(Cells::open(file, dialect, loading)?))),
            #[cfg(feature = "parquet")]
            Format::Parquet => Ok(Self::Parquet(Box::new(StoredRows::open(file, loading)?))),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => Err(crate::parquet::not_built()),
        }
    }

    /// The names of the columns, whose memory is charged to `lent`. Those of a file without a header line are their numbers.
    pub(super) fn header(
        &mut self,
        file: &Source,
        has_line: bool,
        dialect: &Dialect,
        loading: &Loading,
        lent: &mut Lent,
    ) -> Result<Vec<String>, DataError> {
        let header = match self {
            Self::Csv(_) if !has_line => {
                let columns = Cells::open(file, dialect, loading)?.columns(file, lent, |_| ())?.len();
                return Ok((0..columns).map(|place| place.to_string()).collect());
            }
            Self::Csv(cells) => {
                cells.columns(file, lent, |cell| String::from_utf8_lossy(cell).trim().to_owned())?
            }
            // Charged with the footer.
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => return Ok(rows.header()),
        };
        if header.is_empty() {
            let (format, reason) = (Format::Csv.name(), "no header".into());
            return Err(file.error(FileProblem::Damaged { format, reason }));
        }
        Ok(header)
    }

    /// Names of columns that are no data: pandas made them of the names of rows.
    pub(super) fn index_columns(&self) -> Vec<String> {
        match self {
            Self::Csv(_) => Vec::new(),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => rows.index_columns(),
        }
    }

    /// Names of the classes of a column of labels, if the file has them.
    #[cfg_attr(not(feature = "parquet"), expect(unused_variables, reason = "texts have none"))]
    pub(super) fn class_names(&self, label: &str) -> Option<Vec<String>> {
        match self {
            Self::Csv(_) => None,
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => rows.class_names(label),
        }
    }

    /// Number of rows, if the file says it before they are read.
    pub(super) fn announced(&self) -> Option<u64> {
        match self {
            Self::Csv(_) => None,
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => Some(rows.rows()),
        }
    }

    /// Says what the columns are for, before the first row is read.
    #[cfg_attr(not(feature = "parquet"), expect(unused_variables, reason = "texts are read whole"))]
    pub(super) fn select(&mut self, uses: &[Use]) -> Result<(), DataError> {
        match self {
            Self::Csv(_) => Ok(()),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => rows.select(|place| match uses.get(place) {
                None | Some(Use::Nothing) => Purpose::Nothing,
                Some(Use::Image) => Purpose::Image,
                Some(Use::Label) => Purpose::Label,
                Some(Use::Number | Use::Ordinal(_) | Use::OneHot(_)) => Purpose::Value,
            }),
        }
    }

    /// The place of the next row, for people.
    pub(super) fn place_of_next(&mut self) -> Result<Place, DataError> {
        match self {
            Self::Csv(cells) => Ok(Place::Line(cells.line_of_next()?)),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => Ok(Place::Row(rows.row_of_next())),
        }
    }

    /// The next value; `None` at the end of the file. `place` describes it, for errors.
    pub(super) fn next(&mut self, place: impl Fn() -> String) -> Result<Option<Entry<'_>>, DataError> {
        match self {
            Self::Csv(cells) => Ok(cells
                .next(place)?
                .map(|Cell { bytes, ends_row }| Entry { value: Value::Text(bytes.trim_ascii()), ends_row })),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => {
                Ok(rows.next()?.map(|(value, ends_row)| Entry { value: value.into(), ends_row }))
            }
        }
    }
}

#[cfg(feature = "parquet")]
impl<'a> From<RowValue<'a>> for Value<'a> {
    fn from(value: RowValue<'a>) -> Self {
        match value {
            RowValue::Null => Self::Null,
            RowValue::Unread => Self::Unread,
            RowValue::Truth(value) => Self::Truth(value),
            RowValue::Whole(value) => Self::Whole(value),
            RowValue::Number(value) => Self::Number(value),
            RowValue::Text(text) => Self::Text(text.trim_ascii()),
            RowValue::Bytes(bytes) => Self::Bytes(bytes),
            RowValue::Pixels(pixels) => Self::Pixels(pixels),
        }
    }
}

/// Where a row stands: in a text, its line from 1; elsewhere its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "texts have values of one kind"))]
pub(super) enum Place {
    Line(u64),
    Row(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}
