//! Reads a table cell by cell, so that no row has to fit into memory, and counts the lines of the file.

use std::io::{BufRead, ErrorKind};

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::parameters::Dialect;
use super::text::Text;
use super::{COLUMN, MAX_COLUMNS};
use crate::loading::{Lent, Loading};
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
    lines: Lines,
    /// The line in which the present row begins.
    line: u64,
    /// Whether the next cell is the first of its row.
    at_start: bool,
}

/// A cell, and whether it is the last of its row.
pub(super) struct Cell<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) ends_row: bool,
}

impl<'a> Cells<'a> {
    pub(super) fn open(file: &'a Source, dialect: &Dialect, loading: &Loading) -> Result<Self, DataError> {
        let Text { reader, delimiter } = Text::open(file, dialect, loading)?;
        let parser = ReaderBuilder::new().delimiter(delimiter).quote(dialect.quote).build();
        let (cell, lines) = (vec![0; FIRST], Lines { line: 1, after_return: false });
        Ok(Self { file, reader, parser, cell, filled: 0, row: 0, lines, line: 1, at_start: true })
    }

    /// The line of the file in which the row of the next cell begins, from 1; a row with line breaks in quotes has several.
    pub(super) fn line_of_next(&mut self) -> Result<u64, DataError> {
        if std::mem::take(&mut self.at_start) {
            self.skip_empty_lines()?;
        }
        Ok(self.line)
    }

    /// The next cell; `None` at the end of the file. `place` describes it, for errors.
    pub(super) fn next(&mut self, place: impl Fn() -> String) -> Result<Option<Cell<'_>>, DataError> {
        self.filled = 0;
        loop {
            let input = fill(self.file, self.reader.as_mut())?;
            let (result, read, written) = self.parser.read_field(input, &mut self.cell[self.filled..]);
            self.lines.pass(&input[..read]);
            self.reader.consume(read);
            self.filled += written;
            self.count(read)?;
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
                    self.at_start = ends_row;
                    return Ok(Some(Cell { bytes: &self.cell[..self.filled], ends_row }));
                }
                ReadFieldResult::End => return Ok(None),
            }
        }
    }

    /// The cells of the next row, as `convert` keeps them; each is charged to `lent`.
    pub(super) fn columns<T>(
        &mut self,
        file: &Source,
        lent: &mut Lent,
        convert: impl Fn(&[u8]) -> T,
    ) -> Result<Vec<T>, DataError> {
        let mut header = Vec::new();
        self.line_of_next()?;
        while let Some(cell) = self.next(|| "header".to_owned())? {
            if header.len() == MAX_COLUMNS {
                let (found, expected) = (header.len() + 1, format!("at most {MAX_COLUMNS}"));
                return Err(file.error(FileProblem::Count { what: "columns", found, expected }));
            }
            lent.grow(COLUMN + 2 * cell.bytes.len() as u64)?;
            header.push(convert(cell.bytes));
            if cell.ends_row {
                break;
            }
        }
        Ok(header)
    }

    /// Skips line ends before a row, so that the row's own line is known.
    fn skip_empty_lines(&mut self) -> Result<(), DataError> {
        self.line = self.lines.line;
        loop {
            let input = fill(self.file, self.reader.as_mut())?;
            let ends = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            let all = ends == input.len();
            self.lines.pass(&input[..ends]);
            self.reader.consume(ends);
            self.count(ends)?;
            if !all || ends == 0 {
                self.line = self.lines.line;
                return Ok(());
            }
        }
    }

    fn count(&mut self, read: usize) -> Result<(), DataError> {
        self.row += read as u64;
        if self.row > MAX_ROW {
            return Err(self.too_long(format!("line {}", self.line), MAX_ROW));
        }
        Ok(())
    }

    fn too_long(&self, place: String, limit: u64) -> DataError {
        self.file.error(FileProblem::TooLong { place, limit })
    }
}

/// The next bytes of a file; none at its end.
fn fill<'r>(file: &Source, reader: &'r mut dyn BufRead) -> Result<&'r [u8], DataError> {
    while let Err(error) = reader.fill_buf() {
        if error.kind() != ErrorKind::Interrupted {
            return Err(file.error(FileProblem::Io(error)));
        }
    }
    // It is filled now, so this reads nothing.
    reader.fill_buf().map_err(|error| file.error(FileProblem::Io(error)))
}

/// Counts lines, which end with a line feed, a carriage return or both.
struct Lines {
    /// The line of the next byte, from 1.
    line: u64,
    /// Whether the last byte was a carriage return, which a line feed belongs to.
    after_return: bool,
}

impl Lines {
    fn pass(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let ends = byte == b'\r' || byte == b'\n' && !self.after_return;
            self.line += u64::from(ends);
            self.after_return = byte == b'\r';
        }
    }
}
