//! Reads the two columns of a Parquet file, a block of rows at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::basic::{Compression, Encoding};
use ::parquet::column::reader::{ColumnReader, get_column_reader};
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::reader::{FileReader, RowGroupReader};
use ::parquet::file::serialized_reader::SerializedFileReader;

use super::ParquetParameters;
use super::columns::{Column, Columns, NotRead, read_images, read_labels};
use super::counted::{Counted, Held};
use super::pages::{self, Needs};
use crate::image::{Collector, Encoded, FormParameters, load};
use crate::loading::Loading;
use crate::source::Source;
use crate::{DataEnvironment, DataError, Dataset, FileProblem, Split};

/// Most rows that are decoded at once, and about how many bytes of them.
const ROWS: usize = 1024;
const BYTES: usize = 1 << 23;
/// Rows that are read until their bytes are counted.
const STEP: usize = 16;

/// Loads the data set that the parameters name.
pub(super) fn read(
    parameters: &ParquetParameters,
    form: FormParameters,
    classes: Option<usize>,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let train = Source::find_all(environment, parameters.train.as_slice(), "data.train")?;
    let test = parameters.test.as_ref();
    let test = test.map(|paths| Source::find_all(environment, paths.as_slice(), "data.test")).transpose()?;
    let loading = Loading::new(environment);
    load(&loading, form, classes, |split, classes, images| {
        let files = if split == Split::Train { Some(&train) } else { test.as_ref() };
        for file in files.into_iter().flatten() {
            let part = Part { file, parameters, split, classes };
            // The Parquet reader may panic on malformed bytes.
            let read = catch_unwind(AssertUnwindSafe(|| part.read(images)))
                .unwrap_or_else(|_| Err(part.damaged(&"not decodable")));
            // A file whose reading was cancelled looks damaged to its reader.
            loading.check()?;
            read?;
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

    /// An error of the reader, which may have come from the charging of its pages.
    fn in_file(&self) -> impl Fn(ParquetError) -> DataError {
        |error| match error {
            ParquetError::External(inner) => match inner.downcast::<DataError>() {
                Ok(error) => *error,
                Err(inner) => self.damaged(&inner),
            },
            error => self.damaged(&error),
        }
    }

    fn not_read(&self, reason: NotRead) -> DataError {
        match reason {
            NotRead::Problem(problem) => self.file.error(problem),
            NotRead::Reader(error) => self.in_file()(error),
        }
    }

    fn read(&self, images: &mut Collector) -> Result<(), DataError> {
        let file = self.file.open()?;
        let needed = pages::check_footer(&file, images.loading()).map_err(|reason| self.damaged(&reason))?;
        let _lent = images.loading().lend(needed)?;
        let reader = SerializedFileReader::new(self.file.open()?).map_err(self.in_file())?;
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let ParquetParameters { image, label, .. } = self.parameters;
        let columns = Columns::find(schema, image.as_deref(), label.as_deref());
        let columns = columns.map_err(|problem| self.file.error(problem))?;
        let mut rows = metadata.row_groups().iter().map(|group| self.count("rows", group.num_rows()));
        // Saturating: a sum that does not fit into u64 is certainly beyond the memory limit.
        let rows = rows.try_fold(0, |sum: u64, rows| rows.map(|rows| sum.saturating_add(rows)))?;
        images.expect(rows)?;
        let mut first = 0;
        for number in 0..reader.num_row_groups() {
            let group = reader.get_row_group(number).map_err(self.in_file())?;
            first += self.read_group(&file, group.as_ref(), &columns, first, images)?;
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
        loading: &Loading,
    ) -> Result<Needs, DataError> {
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
        pages::check(file, start, length, loading, readable)
            .map_err(|reason| self.damaged(&format!("column {:?}: {reason}", column.name)))
    }

    /// A checked column of a group, whose pages are charged.
    fn open(
        &self,
        file: &File,
        group: &dyn RowGroupReader,
        column: &Column,
        loading: &Loading,
    ) -> Result<(ColumnReader, Held), DataError> {
        let chunk = group.metadata().column(column.index);
        let needs = self.check_chunk(file, chunk, column, loading)?;
        let pages = group.get_column_page_reader(column.index).map_err(self.in_file())?;
        let (pages, held) = Counted::new(pages, needs, loading);
        Ok((get_column_reader(chunk.column_descr_ptr(), Box::new(pages)), held))
    }

    /// Reads a group of rows, of which the first is row `first` of the file; returns the number of rows.
    fn read_group(
        &self,
        file: &File,
        group: &dyn RowGroupReader,
        columns: &Columns,
        first: usize,
        images: &mut Collector,
    ) -> Result<usize, DataError> {
        let loading = images.loading().clone();
        let (mut pictures, of_pictures) = self.open(file, group, &columns.image, &loading)?;
        let (mut labels, of_labels) = self.open(file, group, &columns.label, &loading)?;
        let rows = self.count("rows", group.metadata().num_rows())? as usize;
        let mut done = 0;
        while done < rows {
            let start = first + done;
            let pictures = self.pictures(&mut pictures, rows - done, &columns.image, start)?;
            // Decoders keep copies of parts of a file.
            let _lent = loading.lend(pictures.iter().map(ByteArray::len).sum::<usize>() as u64)?;
            let labels = read_labels(&mut labels, pictures.len(), &columns.label, start, self.classes);
            let labels = labels.map_err(|reason| self.not_read(reason))?;
            self.decode(&pictures, &labels, start, columns, images)?;
            done += pictures.len();
            drop(pictures);
            of_pictures.release();
            of_labels.release();
        }
        Ok(rows)
    }

    /// The images of the next rows: at most `left`, and as many as are decoded at once.
    fn pictures(
        &self,
        reader: &mut ColumnReader,
        left: usize,
        column: &Column,
        start: usize,
    ) -> Result<Vec<ByteArray>, DataError> {
        let (mut pictures, mut bytes) = (Vec::new(), 0);
        while pictures.len() < left.min(ROWS) && bytes < BYTES {
            let wanted = STEP.min(left.min(ROWS) - pictures.len());
            let read = read_images(reader, wanted, column, start + pictures.len());
            let read = read.map_err(|reason| self.not_read(reason))?;
            bytes += read.iter().map(ByteArray::len).sum::<usize>();
            pictures.extend(read);
        }
        Ok(pictures)
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
        let name = |place: usize| format!("{} {}", self.file.name(), columns.image.place(first + place));
        images.extend(self.split, &encoded, name).map_err(|rejected| {
            rejected.into_error(|place, problem| {
                let place = columns.image.place(first + place);
                self.file.error(FileProblem::Image { place, problem })
            })
        })
    }
}
