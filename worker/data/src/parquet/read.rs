//! Reads the two columns of a Parquet file, a block of rows at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::basic::{Compression, Encoding};
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::reader::{FileReader, RowGroupReader};
use ::parquet::file::serialized_reader::SerializedFileReader;

use super::ParquetParameters;
use super::columns::{Column, Columns, read_images, read_labels};
use super::pages;
use crate::image::{Collector, Encoded, FormParameters, load};
use crate::source::Source;
use crate::{DataEnvironment, DataError, Dataset, FileProblem, Split};

/// Most rows that are decoded at once, and about how many bytes of them.
const ROWS: usize = 1024;
const BYTES: u64 = 1 << 26;

/// Loads the data set that the parameters name.
pub(super) fn read(
    parameters: &ParquetParameters,
    classes: Option<usize>,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let train = Source::find_all(environment, parameters.train.as_slice(), "data.train")?;
    let test = parameters.test.as_ref();
    let test = test.map(|paths| Source::find_all(environment, paths.as_slice(), "data.test")).transpose()?;
    let form = FormParameters { resize: parameters.resize, channels: parameters.channels };
    load(environment, form, classes, |split, classes, images| {
        let files = if split == Split::Train { Some(&train) } else { test.as_ref() };
        for file in files.into_iter().flatten() {
            let part = Part { file, parameters, split, classes };
            // The Parquet reader may panic on malformed bytes.
            catch_unwind(AssertUnwindSafe(|| part.read(images)))
                .unwrap_or_else(|_| Err(part.damaged(&"not decodable")))?;
        }
        Ok(files.map(|files| Source::names(files)))
    })
}

/// One file of a split.
struct Part<'a> {
    file: &'a Source,
    parameters: &'a ParquetParameters,
    split: Split,
    /// Labels must be below this number.
    classes: usize,
}

impl Part<'_> {
    fn damaged(&self, reason: &dyn std::fmt::Display) -> DataError {
        self.file.error(FileProblem::Damaged { format: "Parquet", reason: reason.to_string() })
    }

    /// Checks a count that the file claims.
    fn count(&self, what: &str, claimed: i64) -> Result<u64, DataError> {
        u64::try_from(claimed).map_err(|_| self.damaged(&format!("a group of {claimed} {what}")))
    }

    fn in_file(&self) -> impl Fn(ParquetError) -> DataError {
        |error| self.damaged(&error)
    }

    fn read(&self, images: &mut Collector) -> Result<(), DataError> {
        let file = self.file.open()?;
        pages::check_footer(&file).map_err(|reason| self.damaged(&reason))?;
        let reader = SerializedFileReader::new(self.file.open()?).map_err(self.in_file())?;
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let ParquetParameters { image, label, .. } = self.parameters;
        let columns = Columns::find(schema, image.as_deref(), label.as_deref());
        let columns = columns.map_err(|problem| self.file.error(problem))?;
        let mut rows = metadata.row_groups().iter().map(|group| self.count("rows", group.num_rows()));
        // Saturating: a sum that does not fit into u64 is certainly beyond the memory limit.
        let rows = rows.try_fold(0, |sum: u64, rows| rows.map(|rows| sum.saturating_add(rows)))?;
        images.expect(self.split, rows)?;
        let mut first = 0;
        for number in 0..reader.num_row_groups() {
            let group = reader.get_row_group(number).map_err(self.in_file())?;
            for column in [&columns.image, &columns.label] {
                self.check_chunk(&file, group.metadata().column(column.index), column, images.limit())?;
            }
            first += self.read_group(group.as_ref(), &columns, first, images)?;
        }
        Ok(())
    }

    /// Refuses a column chunk whose claims would make the Parquet reader allocate memory before it knows whether the
    /// data exists.
    fn check_chunk(
        &self,
        file: &File,
        chunk: &ColumnChunkMetaData,
        column: &Column,
        limit: u64,
    ) -> Result<(), DataError> {
        let known = [Compression::UNCOMPRESSED, Compression::SNAPPY];
        let compression = chunk.compression();
        if !known.contains(&compression) && !matches!(compression, Compression::ZSTD(_)) {
            let expected = "none, Snappy or zstandard".to_owned();
            let place = format!("column {:?}", column.name);
            let found = format!("compression {compression}");
            return Err(self.file.error(FileProblem::Cell { place, found, expected }));
        }
        let readable = |encoding: Encoding| {
            matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY)
        };
        if chunk.data_page_offset() < 0 || chunk.dictionary_page_offset().is_some_and(|offset| offset < 0) {
            return Err(self.damaged(&"a column begins before the file"));
        }
        let (start, length) = chunk.byte_range();
        pages::check(file, start, length, limit, readable)
            .map_err(|reason| self.damaged(&format!("column {:?}: {reason}", column.name)))
    }

    /// Reads a group of rows, of which the first is row `first` of the file; returns the number of rows.
    fn read_group(
        &self,
        group: &dyn RowGroupReader,
        columns: &Columns,
        first: usize,
        images: &mut Collector,
    ) -> Result<usize, DataError> {
        let open = |column: &Column| group.get_column_reader(column.index).map_err(self.in_file());
        let (mut pictures, mut labels) = (open(&columns.image)?, open(&columns.label)?);
        let chunk = group.metadata().column(columns.image.index);
        let rows = self.count("rows", group.metadata().num_rows())? as usize;
        let bytes = self.count("bytes in a column", chunk.uncompressed_size())?;
        // About this many rows have BYTES bytes together; at most ROWS if rows are small, or if there are none.
        let at_once = BYTES.saturating_mul(rows as u64).checked_div(bytes).unwrap_or(u64::MAX);
        let at_once = at_once.clamp(1, ROWS as u64) as usize;
        let mut done = 0;
        while done < rows {
            let wanted = at_once.min(rows - done);
            let pictures = read_images(&mut pictures, wanted, &columns.image, first + done);
            let pictures = pictures.map_err(|problem| self.file.error(problem))?;
            let labels = read_labels(&mut labels, wanted, &columns.label, first + done, self.classes);
            let labels = labels.map_err(|problem| self.file.error(problem))?;
            self.decode(&pictures, &labels, first + done, columns, images)?;
            done += wanted;
        }
        Ok(rows)
    }

    fn decode(
        &self,
        pictures: &[ByteArray],
        labels: &[u32],
        first: usize,
        columns: &Columns,
        images: &mut Collector,
    ) -> Result<(), DataError> {
        let encoded: Vec<_> = pictures
            .iter()
            .zip(labels)
            .map(|(bytes, &label)| Encoded { bytes: bytes.data(), label })
            .collect();
        images.extend(self.split, &encoded).map_err(|rejected| {
            rejected.into_error(|place, problem| {
                let place = columns.image.place(first + place);
                self.file.error(FileProblem::Image { place, problem })
            })
        })
    }
}
