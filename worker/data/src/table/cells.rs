//! Reads a CSV file cell by cell, so that no row has to fit into memory.

use std::io::{BufRead, ErrorKind};

use csv_core::{ReadFieldResult, Reader};

use crate::loading::Loading;
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Most bytes of a row: sixteen for each of the columns that a table may have.
pub(super) const MAX_ROW: u64 = 1 << 24;
/// Most bytes of a cell.
pub(super) const MAX_CELL: usize = 1 << 20;
/// Bytes of a cell that there is room for at first.
const FIRST: usize = 1 << 10;

/// The cells of a file.
pub(super) struct Cells<'a> {
    file: &'a Source,
    reader: Box<dyn BufRead + Send>,
    parser: Reader,
    /// Room for a cell, and how much of it is filled.
    cell: Vec<u8>,
    filled: usize,
    /// Bytes of the present row so far.
    row: u64,
}

/// A cell, and whether it is the last of its row.
pub(super) struct Cell<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) ends_row: bool,
}

impl<'a> Cells<'a> {
    pub(super) fn open(file: &'a Source, loading: &Loading) -> Result<Self, DataError> {
        let (reader, parser) = (file.reader(loading)?, Reader::new());
        Ok(Self { file, reader, parser, cell: vec![0; FIRST], filled: 0, row: 0 })
    }

    /// The next cell; `None` at the end of the file. `place` describes it, and `of_row` its row, for errors.
    pub(super) fn next(
        &mut self,
        place: impl Fn() -> String,
        of_row: impl Fn() -> String,
    ) -> Result<Option<Cell<'_>>, DataError> {
        self.filled = 0;
        loop {
            let input = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                input => input.map_err(|error| self.file.error(FileProblem::Io(error)))?,
            };
            let (result, read, written) = self.parser.read_field(input, &mut self.cell[self.filled..]);
            self.reader.consume(read);
            self.filled += written;
            self.row += read as u64;
            if self.row > MAX_ROW {
                return Err(self.too_long(of_row(), MAX_ROW));
            }
            match result {
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::OutputFull if self.cell.len() < MAX_CELL => {
                    self.cell.resize(2 * self.cell.len(), 0);
                }
                ReadFieldResult::OutputFull => return Err(self.too_long(place(), MAX_CELL as u64)),
                ReadFieldResult::Field { record_end: ends_row } => {
                    if ends_row {
                        self.row = 0;
                    }
                    return Ok(Some(Cell { bytes: &self.cell[..self.filled], ends_row }));
                }
                ReadFieldResult::End => return Ok(None),
            }
        }
    }

    fn too_long(&self, place: String, limit: u64) -> DataError {
        self.file.error(FileProblem::TooLong { place, limit })
    }
}
