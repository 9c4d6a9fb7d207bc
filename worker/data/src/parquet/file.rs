//! A Parquet file: its columns, what it says about itself, and its groups of rows, whose sizes are checked before anything
//! is allocated for them.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::basic::Compression;
use ::parquet::column::reader::get_column_reader;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::properties::ReaderProperties;
use ::parquet::file::reader::{FileReader, RowGroupReader};
use ::parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use serde_json::Value;

use super::counted::Counted;
use super::packing::Packing;
use super::pages::{self, Needs};
use super::schema::{Leaf, leaves};
use super::values::{Column, NotRead};
use crate::loading::{Lent, Loading};
use crate::source::Source;
use crate::{DataError, FileProblem, ForeignBytes};

/// The first bytes of a file.
const MAGIC: &[u8] = b"PAR1";

/// An open file.
pub(super) struct ParquetFile<'a> {
    source: &'a Source,
    pub(super) loading: Loading,
    file: File,
    reader: SerializedFileReader<File>,
    pub(super) leaves: Vec<Leaf>,
    /// Number of rows.
    pub(super) rows: u64,
    /// The memory of the footer.
    _lent: Lent,
}

/// Runs a reader of a file, which may panic on malformed bytes.
pub(super) fn guarded<T>(
    source: &Source,
    loading: &Loading,
    read: impl FnOnce() -> Result<T, DataError>,
) -> Result<T, DataError> {
    let result =
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(source.error(damaged(&"not decodable"))));
    // A file whose reading was cancelled looks damaged to its reader.
    loading.check()?;
    result
}

fn damaged(reason: &dyn std::fmt::Display) -> FileProblem {
    FileProblem::Damaged { format: "Parquet", reason: reason.to_string() }
}

impl<'a> ParquetFile<'a> {
    pub(super) fn open(source: &'a Source, loading: &Loading) -> Result<Self, DataError> {
        let file = source.open()?;
        let mut start = Vec::new();
        let read = (&file).take(crate::foreign::START as u64).read_to_end(&mut start);
        read.map_err(|error| source.error(FileProblem::Io(error)))?;
        if !start.starts_with(MAGIC) {
            return Err(source.error(damaged(&ForeignBytes::new(&start))));
        }
        let needed = pages::check_footer(&file, loading);
        let needed = needed.map_err(|reason| source.error(damaged(&reason)))?;
        let lent = loading.lend(needed)?;
        // Without guessing which of the three forms of LZ4 a page has: one of them has no limit.
        let properties = ReaderProperties::builder().set_backward_compatible_lz4(false).build();
        let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
        let reader = SerializedFileReader::new_with_options(source.open()?, options)
            .map_err(|error| source.error(damaged(&error)))?;
        let metadata = reader.metadata();
        let leaves = leaves(metadata.file_metadata().schema_descr());
        let mut rows = 0_u64;
        for group in metadata.row_groups() {
            // Saturating: a sum that does not fit into u64 is certainly beyond the memory limit.
            rows = rows.saturating_add(count(group.num_rows()).map_err(|problem| source.error(problem))?);
        }
        Ok(Self { source, loading: loading.clone(), file, reader, leaves, rows, _lent: lent })
    }

    /// What the file says about itself under a key, as programs write it: as JSON.
    pub(super) fn metadata(&self, key: &str) -> Option<Value> {
        let entries = self.reader.metadata().file_metadata().key_value_metadata()?;
        let entry = entries.iter().find(|entry| entry.key == key)?;
        serde_json::from_str(entry.value.as_deref()?).ok()
    }

    pub(super) fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// The rows of a group and its columns at the places that are wanted.
    pub(super) fn group(
        &self,
        number: usize,
        wanted: &[bool],
    ) -> Result<(u64, Vec<Option<Column>>), DataError> {
        let group = self.reader.get_row_group(number).map_err(|error| self.not_read(error.into()))?;
        let rows = count(group.metadata().num_rows()).map_err(|problem| self.source.error(problem))?;
        let open =
            |(leaf, &wanted): (&Leaf, &bool)| wanted.then(|| self.column(group.as_ref(), leaf)).transpose();
        let columns = self.leaves.iter().zip(wanted).map(open).collect::<Result<_, _>>()?;
        Ok((rows, columns))
    }

    /// A checked column of a group, whose pages are charged.
    fn column(&self, group: &dyn RowGroupReader, leaf: &Leaf) -> Result<Column, DataError> {
        let chunk = group.metadata().column(leaf.index);
        let needs = self.check_chunk(chunk, leaf)?;
        let pages = group.get_column_page_reader(leaf.index).map_err(|error| self.not_read(error.into()))?;
        let (pages, held) = Counted::new(pages, needs, leaf, &self.loading);
        let reader = get_column_reader(chunk.column_descr_ptr(), Box::new(pages));
        let copied = if needs.put_together { needs.page } else { 0 };
        Ok(Column { leaf: leaf.clone(), reader, held, copied })
    }

    /// Refuses a column chunk whose claims would make the Parquet reader allocate memory before it knows whether the
    /// data exists.
    fn check_chunk(&self, chunk: &ColumnChunkMetaData, leaf: &Leaf) -> Result<Needs, DataError> {
        let compression = chunk.compression();
        if compression == Compression::LZO {
            let expected = "none, Snappy, gzip, brotli, LZ4 or zstandard".to_owned();
            let place = format!("column {:?}", leaf.name);
            let found = format!("compression {compression}");
            return Err(self.source.error(FileProblem::Cell { place, found, expected }));
        }
        if chunk.data_page_offset() < 0 || chunk.dictionary_page_offset().is_some_and(|offset| offset < 0) {
            return Err(self.source.error(damaged(&"a column begins before the file")));
        }
        pages::check(&self.file, chunk.byte_range(), &self.loading, Packing::of(compression))
            .map_err(|reason| self.source.error(damaged(&format!("column {:?}: {reason}", leaf.name))))
    }

    /// An error of the reader, which may have come from the charging of its pages.
    pub(super) fn not_read(&self, reason: NotRead) -> DataError {
        match reason {
            NotRead::Problem(problem) => self.source.error(problem),
            NotRead::Other(error) => error,
            NotRead::Reader(ParquetError::External(inner)) => match inner.downcast::<DataError>() {
                Ok(error) => *error,
                Err(inner) => self.source.error(damaged(&inner)),
            },
            NotRead::Reader(error) => self.source.error(damaged(&error)),
        }
    }
}

/// A number of rows that the file claims.
fn count(claimed: i64) -> Result<u64, FileProblem> {
    u64::try_from(claimed).map_err(|_| damaged(&format!("a group of {claimed} rows")))
}
