//! The columns of a table while its rows are read.

use std::collections::HashMap;

use super::cells::{Cell, Cells};
use super::header::{Use, listed, shorten};
use super::labels::{Label, Labels};
use super::numbers::{boolean, is_missing, number};
use super::parameters::{Dialect, Missing, Policy};
use crate::loading::Lent;
use crate::source::Source;
use crate::{DataError, FileProblem};

/// The columns of one file.
pub(super) struct Columns {
    pub(super) header: Vec<String>,
    /// What each column is for.
    pub(super) uses: Vec<Use>,
    /// Places of the inputs, in the order in which a sample has them.
    pub(super) inputs: Vec<usize>,
    /// The memory of all this.
    pub(super) _lent: Lent,
}

/// A row: the numbers by column, or the places of texts, and the label.
pub(super) struct Row {
    pub(super) values: Vec<f32>,
    pub(super) label: u32,
    /// Values that were missing and replaced, and truth values.
    pub(super) replaced: u64,
    pub(super) booleans: u64,
}

impl Row {
    pub(super) fn new(columns: usize) -> Self {
        Self { values: vec![0.0; columns], label: 0, replaced: 0, booleans: 0 }
    }
}

/// What was read.
pub(super) enum Read {
    Row,
    /// A row without any content.
    Blank,
    /// A row in which a value is missing, which the job leaves out.
    Incomplete,
    End,
}

/// How rows are read.
pub(super) struct Rules {
    pub(super) dialect: Dialect,
    pub(super) missing: Missing,
}

/// What is wrong with a cell.
enum Wrong {
    /// Nothing stands there; this was expected.
    Missing(&'static str),
    /// Something else than this stands there.
    Value(String),
    Other(DataError),
}

/// The state of a row whose cells are read.
#[derive(Default)]
struct Progress {
    /// Cells so far.
    cells: usize,
    /// The first place where a value is missing, with the text that stands there and what was expected.
    missing: Option<(usize, String, &'static str)>,
    has_content: bool,
}

impl Columns {
    /// Number of inputs of a sample.
    pub(super) fn width(&self) -> usize {
        self.inputs.iter().map(|&place| self.uses[place].width()).sum()
    }

    /// Reads the next row into `row`.
    pub(super) fn read_row(
        &self,
        file: &Source,
        cells: &mut Cells<'_>,
        rules: &Rules,
        labels: &mut Labels,
        row: &mut Row,
    ) -> Result<Read, DataError> {
        let mut progress = Progress::default();
        (row.replaced, row.booleans) = (0, 0);
        loop {
            let place = progress.cells;
            let line = cells.line_of_next()?;
            let Some(Cell { bytes, ends_row }) = cells.next(|| self.place(line, place))? else {
                return Ok(Read::End);
            };
            let text = bytes.trim_ascii();
            progress.has_content |= !text.is_empty();
            match self.uses.get(place) {
                // Spreadsheets end rows with empty cells.
                None if text.is_empty() => {}
                None => return Err(self.wrong_length(file, line, "more")),
                Some(usage) => match row.take(text, place, usage, rules, labels) {
                    Ok(()) => {}
                    Err(Wrong::Missing(expected)) => {
                        progress.missing.get_or_insert_with(|| (place, shown(text), expected));
                    }
                    Err(Wrong::Value(expected)) => {
                        return Err(self.refused(file, line, place, shown(text), expected));
                    }
                    Err(Wrong::Other(error)) => return Err(error),
                },
            }
            progress.cells += 1;
            if ends_row {
                return self.finish(file, line, rules, progress);
            }
        }
    }

    /// What a row is whose cells have been read.
    fn finish(&self, file: &Source, line: u64, rules: &Rules, progress: Progress) -> Result<Read, DataError> {
        if !progress.has_content {
            return Ok(Read::Blank);
        }
        if progress.cells < self.uses.len() {
            return Err(self.wrong_length(file, line, &progress.cells.to_string()));
        }
        match progress.missing {
            None => Ok(Read::Row),
            Some(_) if rules.missing == Missing::Policy(Policy::Skip) => Ok(Read::Incomplete),
            Some((place, found, expected)) => {
                let expected =
                    format!("{expected}; missing = \"skip\" leaves out rows where a value is missing");
                Err(self.refused(file, line, place, found, expected))
            }
        }
    }

    fn refused(&self, file: &Source, line: u64, place: usize, found: String, expected: String) -> DataError {
        file.error(FileProblem::Cell { place: self.place(line, place), found, expected })
    }

    fn wrong_length(&self, file: &Source, line: u64, found: &str) -> DataError {
        let expected = self.uses.len();
        let reason = format!("line {line} has {found} cells, expected {expected} as in the first line");
        file.error(FileProblem::Damaged { format: "CSV", reason })
    }

    /// Describes a cell, for errors.
    fn place(&self, line: u64, place: usize) -> String {
        match self.header.get(place) {
            Some(name) => format!("line {line}, column {:?}", shorten(name)),
            None => format!("line {line}, behind the last column"),
        }
    }
}

/// A cell for errors.
fn shown(cell: &[u8]) -> String {
    format!("{:?}", shorten(String::from_utf8_lossy(cell).trim()))
}

impl Row {
    /// Takes the value of the cell in a column.
    fn take(
        &mut self,
        cell: &[u8],
        place: usize,
        usage: &Use,
        rules: &Rules,
        labels: &mut Labels,
    ) -> Result<(), Wrong> {
        if *usage == Use::Nothing {
            return Ok(());
        }
        let text = std::str::from_utf8(cell).map_err(|_| Wrong::Value("UTF-8".to_owned()))?.trim();
        match usage {
            Use::Nothing => {}
            Use::Label => match labels.read(text).map_err(Wrong::Other)? {
                Label::Class(class) => self.label = class,
                Label::Missing => return Err(Wrong::Missing("a label")),
                Label::Wrong(expected) => return Err(Wrong::Value(expected)),
            },
            Use::Number => self.values[place] = self.number(text, rules)?,
            Use::Ordinal(_) | Use::OneHot(_) if text.is_empty() => return Err(Wrong::Missing("a text")),
            Use::Ordinal(texts) | Use::OneHot(texts) => {
                let code = texts.get(text).ok_or_else(|| Wrong::Value(one_of(texts)))?;
                self.values[place] = *code as f32;
            }
        }
        Ok(())
    }

    fn number(&mut self, text: &str, rules: &Rules) -> Result<f32, Wrong> {
        const EXPECTED: &str = "a finite number";
        if let Some(number) = number(text, &rules.dialect) {
            return Ok(number);
        }
        if let Some(value) = boolean(text) {
            self.booleans += 1;
            return Ok(f32::from(u8::from(value)));
        }
        match rules.missing {
            _ if !is_missing(text) => Err(Wrong::Value(EXPECTED.to_owned())),
            Missing::Replace(number) => {
                self.replaced += 1;
                Ok(number)
            }
            Missing::Policy(_) => Err(Wrong::Missing(EXPECTED)),
        }
    }

    /// The inputs of a sample.
    pub(super) fn sample(&self, columns: &Columns, sample: &mut Vec<f32>) {
        sample.clear();
        for &place in &columns.inputs {
            match &columns.uses[place] {
                Use::OneHot(texts) => {
                    let code = self.values[place];
                    sample.extend((0..texts.len()).map(|text| f32::from(u8::from(text as f32 == code))));
                }
                _ => sample.push(self.values[place]),
            }
        }
    }
}

/// The texts of a column, for errors.
fn one_of(texts: &HashMap<String, u32>) -> String {
    let mut names: Vec<(&u32, &String)> = texts.iter().map(|(name, code)| (code, name)).collect();
    names.sort_unstable();
    format!("one of {}", listed(names.into_iter().map(|(_, name)| name)))
}
