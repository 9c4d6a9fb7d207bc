//! The columns of a table: what each is for, and the reading of a row.

use std::collections::HashMap;

use super::cells::Cells;
use crate::loading::Lent;
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Longest text of a cell, and most names of columns, in an error.
const SHOWN: usize = 40;
const NAMES: usize = 20;

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

/// What a column is for; it may be for nothing, or for both.
#[derive(Clone, Copy, Default)]
pub(super) struct Use {
    input: bool,
    label: bool,
}

/// A row: the numbers by column, and the label.
pub(super) struct Row {
    pub(super) numbers: Vec<f32>,
    pub(super) label: u32,
}

/// Names of the columns that are read.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) label: &'a str,
    /// By default all others.
    pub(super) inputs: Option<&'a [String]>,
}

/// The use of each column of a header, and the places of the inputs.
pub(super) fn find(header: &[String], wanted: Names<'_>) -> Result<(Vec<Use>, Vec<usize>), FileProblem> {
    // The place of each name, and whether there is a second one.
    let mut index: HashMap<&str, (usize, bool)> = HashMap::with_capacity(header.len());
    for (place, name) in header.iter().enumerate() {
        index.entry(name).and_modify(|(_, twice)| *twice = true).or_insert((place, false));
    }
    let find = |column: &str| match index.get(column) {
        None => Err(FileProblem::NoColumn { column: column.to_owned(), present: present(header) }),
        Some((_, true)) => Err(FileProblem::ColumnTwice { column: shorten(column) }),
        Some(&(place, false)) => Ok(place),
    };
    let label = find(wanted.label)?;
    let inputs: Vec<usize> = match wanted.inputs {
        Some(names) => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
        None => {
            let others = header.iter().filter(|name| *name != wanted.label);
            others.map(|name| find(name)).collect::<Result<_, _>>()?
        }
    };
    if inputs.is_empty() {
        let expected = "at least one".to_owned();
        return Err(FileProblem::Count { what: "columns of inputs", found: 0, expected });
    }
    let mut uses = vec![Use::default(); header.len()];
    inputs.iter().for_each(|&place| uses[place].input = true);
    uses[label].label = true;
    Ok((uses, inputs))
}

fn present(header: &[String]) -> String {
    let mut names: Vec<String> = header.iter().take(NAMES).map(|name| shorten(name)).collect();
    if header.len() > names.len() {
        names.push("…".into());
    }
    names.join(", ")
}

fn shorten(text: &str) -> String {
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

impl Columns {
    /// Reads the row of this number into `row`; `false` at the end of the file.
    pub(super) fn read_row(
        &self,
        file: &Source,
        cells: &mut Cells<'_>,
        classes: usize,
        number: usize,
        row: &mut Row,
    ) -> Result<bool, DataError> {
        let expected = self.uses.len();
        let wrong_length = |found: &str| {
            let reason = format!("row {number} has {found} cells, expected {expected} as in the header");
            Err(file.error(FileProblem::Damaged { format: "CSV", reason }))
        };
        let mut place = 0;
        loop {
            let cell = cells.next(|| self.place(number, place), || format!("row {number}"))?;
            let Some(cell) = cell else { return Ok(false) };
            let Some(usage) = self.uses.get(place) else { return wrong_length("more") };
            row.take(cell.bytes, place, *usage, classes).map_err(|(found, expected)| {
                let place = self.place(number, place);
                file.error(FileProblem::Cell { place, found, expected })
            })?;
            place += 1;
            if cell.ends_row {
                return if place == expected { Ok(true) } else { wrong_length(&place.to_string()) };
            }
        }
    }

    /// Describes a cell, for errors.
    fn place(&self, row: usize, place: usize) -> String {
        match self.header.get(place) {
            Some(name) => format!("row {row}, column {:?}", shorten(name)),
            None => format!("row {row}, behind the last column"),
        }
    }
}

impl Row {
    /// Takes the value of the cell in a column, or returns its text, shortened, and what was expected.
    fn take(
        &mut self,
        cell: &[u8],
        place: usize,
        usage: Use,
        classes: usize,
    ) -> Result<(), (String, String)> {
        let text = std::str::from_utf8(cell).map(str::trim).ok();
        let found = || format!("{:?}", shorten(String::from_utf8_lossy(cell).trim()));
        if usage.input {
            let value = text.and_then(finite);
            self.numbers[place] = value.ok_or_else(|| (found(), "a finite number".to_owned()))?;
        }
        if usage.label {
            let value = text.and_then(|text| class(text, classes));
            self.label = value.ok_or_else(|| (found(), format!("a class from 0 to {}", classes - 1)))?;
        }
        Ok(())
    }
}

fn finite(text: &str) -> Option<f32> {
    text.parse().ok().filter(|number: &f32| number.is_finite())
}

fn class(text: &str, classes: usize) -> Option<u32> {
    text.parse().ok().filter(|&label: &u32| (label as usize) < classes)
}
