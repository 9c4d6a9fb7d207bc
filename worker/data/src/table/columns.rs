//! The columns of a table while its rows are read.

use std::borrow::Cow;
use std::collections::HashMap;

use super::header::{Use, listed, shorten};
use super::labels::{Label, Labels};
use super::numbers::{boolean, is_missing, number};
use super::parameters::{Dialect, Missing, Policy};
use super::picture::Picture;
use super::rows::{Entry, Place, Rows, Value};
use crate::folder::is_image as is_image_name;
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

/// A row: the numbers by column, or the places of texts, the image if there are images, and the label.
pub(super) struct Row {
    pub(super) values: Vec<f32>,
    pub(super) picture: Picture,
    pub(super) label: u32,
    /// Values that were missing and replaced, and truth values.
    pub(super) replaced: u64,
    pub(super) booleans: u64,
}

impl Row {
    pub(super) fn new(columns: usize) -> Self {
        let picture = Picture::File(Vec::new());
        Self { values: vec![0.0; columns], picture, label: 0, replaced: 0, booleans: 0 }
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

/// What is expected of an input.
const NUMBER: &str = "a finite number";

/// What is wrong with a cell.
pub(super) enum Wrong {
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
        rows: &mut Rows<'_>,
        rules: &Rules,
        labels: &mut Labels,
        row: &mut Row,
    ) -> Result<Read, DataError> {
        let mut progress = Progress::default();
        (row.replaced, row.booleans) = (0, 0);
        loop {
            let place = progress.cells;
            let line = rows.place_of_next()?;
            let Some(Entry { value, ends_row }) = rows.next(|| self.place(line, place))? else {
                return Ok(Read::End);
            };
            progress.has_content |= !value.is_empty();
            match self.uses.get(place) {
                // Spreadsheets end rows with empty cells.
                None if value.is_empty() => {}
                None => return Err(self.wrong_length(file, line, "more")),
                Some(usage) => match row.take(value, place, usage, rules, labels) {
                    Ok(()) => {}
                    Err(Wrong::Missing(expected)) => {
                        progress.missing.get_or_insert_with(|| (place, value.shown(), expected));
                    }
                    Err(Wrong::Value(expected)) => {
                        return Err(self.refused(file, line, place, value.shown(), expected));
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
    fn finish(
        &self,
        file: &Source,
        line: Place,
        rules: &Rules,
        progress: Progress,
    ) -> Result<Read, DataError> {
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

    fn refused(
        &self,
        file: &Source,
        line: Place,
        place: usize,
        found: String,
        expected: String,
    ) -> DataError {
        file.error(FileProblem::Cell { place: self.place(line, place), found, expected })
    }

    fn wrong_length(&self, file: &Source, line: Place, found: &str) -> DataError {
        let expected = self.uses.len();
        let reason = format!("{line} has {found} cells, expected {expected} as in the first line");
        file.error(FileProblem::Damaged { format: "CSV", reason })
    }

    /// Describes a cell, for errors.
    pub(super) fn place(&self, line: Place, place: usize) -> String {
        match self.header.get(place) {
            Some(name) => format!("{line}, column {:?}", shorten(name)),
            None => format!("{line}, behind the last column"),
        }
    }
}

impl Row {
    /// Takes the value in a column.
    fn take(
        &mut self,
        value: Value<'_>,
        place: usize,
        usage: &Use,
        rules: &Rules,
        labels: &mut Labels,
    ) -> Result<(), Wrong> {
        match usage {
            Use::Nothing => Ok(()),
            Use::Image => self.picture.take(value).map_err(|expected| match value.is_empty() {
                true => Wrong::Missing(expected),
                false => Wrong::Value(expected.to_owned()),
            }),
            Use::Number => {
                self.values[place] = match value {
                    Value::Text(_) => self.text_as_number(&text(value)?, rules)?,
                    Value::Truth(value) => {
                        self.booleans += 1;
                        f32::from(u8::from(value))
                    }
                    Value::Whole(value) => value as f32,
                    Value::Number(value) if (value as f32).is_finite() => value as f32,
                    Value::Number(value) if !value.is_nan() => return Err(Wrong::Value(NUMBER.to_owned())),
                    _ => self.missing_number(rules)?,
                };
                Ok(())
            }
            Use::Label => self.take_label(&text(value)?, labels),
            Use::Ordinal(texts) | Use::OneHot(texts) => {
                let text = text(value)?;
                if text.is_empty() {
                    return Err(Wrong::Missing("a text"));
                }
                let code = texts.get(text.as_ref()).ok_or_else(|| Wrong::Value(one_of(texts)))?;
                self.values[place] = *code as f32;
                Ok(())
            }
        }
    }

    fn take_label(&mut self, text: &str, labels: &mut Labels) -> Result<(), Wrong> {
        match labels.read(text).map_err(Wrong::Other)? {
            Label::Class(class) => self.label = class,
            Label::Missing => return Err(Wrong::Missing("a label")),
            Label::Wrong(expected) => return Err(Wrong::Value(expected)),
        }
        Ok(())
    }

    /// The number that stands for a missing one, if the job has it.
    fn missing_number(&mut self, rules: &Rules) -> Result<f32, Wrong> {
        match rules.missing {
            Missing::Replace(number) => {
                self.replaced += 1;
                Ok(number)
            }
            Missing::Policy(_) => Err(Wrong::Missing(NUMBER)),
        }
    }

    fn text_as_number(&mut self, text: &str, rules: &Rules) -> Result<f32, Wrong> {
        if let Some(number) = number(text, &rules.dialect) {
            return Ok(number);
        }
        if let Some(value) = boolean(text) {
            self.booleans += 1;
            return Ok(f32::from(u8::from(value)));
        }
        match is_missing(text) {
            true => self.missing_number(rules),
            false => Err(Wrong::Value(not_a_number(text))),
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

/// What is expected in the place of a text that is no number.
fn not_a_number(text: &str) -> String {
    if is_image_name(text) {
        return format!("{NUMBER}; image = \"COLUMN\" reads the images that a column names");
    }
    NUMBER.to_owned()
}

/// A value as text.
pub(super) fn text(value: Value<'_>) -> Result<Cow<'_, str>, Wrong> {
    Ok(match value {
        Value::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| Wrong::Value("UTF-8".to_owned()))?;
            Cow::Borrowed(text.trim())
        }
        Value::Truth(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Value::Whole(value) => Cow::Owned(value.to_string()),
        Value::Number(value) if !value.is_nan() => Cow::Owned(value.to_string()),
        _ => Cow::Borrowed(""),
    })
}

/// The texts of a column, for errors.
fn one_of(texts: &HashMap<String, u32>) -> String {
    let mut names: Vec<(&u32, &String)> = texts.iter().map(|(name, code)| (code, name)).collect();
    names.sort_unstable();
    format!("one of {}", listed(names.into_iter().map(|(_, name)| name)))
}
