//! Tables in CSV: a header, columns of numbers and a column of labels; plain, gzip or zstandard.

use csv::{ByteRecord, ReaderBuilder};
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::budget::Budget;
use super::source::{Paths, Source};
use super::{
    DataEnvironment, DataError, Dataset, FileProblem, InMemory, InputSpec, MAX_CLASSES, Rows, Split,
    check_classes,
};

/// Longest text of a cell in an error.
const SHOWN: usize = 40;
/// Bytes that a row may have even if the memory limit is lower.
const LONGEST_ROW: u64 = 1 << 16;
/// Most columns of a table.
const MAX_COLUMNS: usize = 1 << 20;

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CsvParameters {
    train: Paths,
    test: Option<Paths>,
    /// Name of the column of labels.
    #[serde(default = "default_label")]
    label: String,
    /// Names of the columns of inputs; by default all others.
    columns: Option<Vec<String>>,
    /// Shape of a sample; by default [columns].
    shape: Option<Vec<usize>>,
    classes: Option<u64>,
}

fn default_label() -> String {
    "label".to_owned()
}

/// Loads a table: inputs of the given shape, by default one element for each column.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a file is missing, too large, lacks a column, or has a cell that is
/// not a number or class (this worker's).
pub fn csv(parameters: &Parameters, environment: &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> {
    let parameters: CsvParameters = parse_parameters("data", parameters)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    let train = Source::find_all(environment, parameters.train.as_slice(), "data.train")?;
    let test = parameters.test.as_ref();
    let test = test.map(|paths| Source::find_all(environment, paths.as_slice(), "data.test")).transpose()?;

    let mut table = Table {
        label: parameters.label,
        columns: parameters.columns,
        budget: Budget::new(environment.memory_limit),
    };
    let train = table.read(Split::Train, &train, classes.unwrap_or(MAX_CLASSES))?;
    let classes = classes.unwrap_or_else(|| train.classes());
    let test = test.map(|test| table.read(Split::Test, &test, classes)).transpose()?;
    #[expect(clippy::expect_used, reason = "there is at least one file")]
    let columns = table.columns.expect("columns, which the first file has given").len();
    let shape = shape(parameters.shape, columns)?;
    Ok(Box::new(InMemory::new(shape, classes, train, test.unwrap_or_default())?))
}

/// The input spec, without reading files; `None` unless the job gives classes and the shape or the columns.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let parameters: CsvParameters = parse_parameters("data", parameters)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    let shape = match (parameters.shape, parameters.columns) {
        (_, Some(columns)) if columns.is_empty() => {
            return Err(JobError::new("data.columns", "expected at least one, found none"));
        }
        (given, Some(columns)) => Some(shape(given, columns.len())?),
        (Some(given), None)
            if !elements(&given).is_some_and(|elements| (1..=MAX_COLUMNS).contains(&elements)) =>
        {
            let problem = format!("expected a shape of 1 to {MAX_COLUMNS} elements, found {given:?}");
            return Err(JobError::new("data.shape", &problem));
        }
        (given, None) => given,
    };
    Ok(shape.zip(classes).map(|(input_shape, classes)| InputSpec { input_shape, classes }))
}

fn shape(given: Option<Vec<usize>>, columns: usize) -> Result<Vec<usize>, JobError> {
    let Some(shape) = given else { return Ok(vec![columns]) };
    if elements(&shape) == Some(columns) {
        return Ok(shape);
    }
    Err(JobError::new(
        "data.shape",
        &format!("expected a shape of {columns} elements, one per column, found {shape:?}"),
    ))
}

/// Number of elements of a sample, if it does not overflow.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |elements, &extent| elements.checked_mul(extent))
}

/// What all files of a data set share.
struct Table {
    label: String,
    /// Names of the columns of inputs, known from the first file on.
    columns: Option<Vec<String>>,
    budget: Budget,
}

/// Indices of the columns in one file.
struct Places {
    label: usize,
    inputs: Vec<usize>,
}

impl Table {
    fn read(&mut self, split: Split, files: &[Source], classes: usize) -> Result<Rows, DataError> {
        let mut rows = Rows::default();
        files.iter().try_for_each(|file| self.read_file(file, classes, &mut rows))?;
        if rows.targets.is_empty() {
            return Err(DataError::Empty { split, files: Source::names(files) });
        }
        Ok(rows)
    }

    fn read_file(&mut self, file: &Source, classes: usize, rows: &mut Rows) -> Result<(), DataError> {
        let longest = self.budget.limit().max(LONGEST_ROW);
        let limited = Limited { reader: file.reader()?, left: longest };
        let mut reader = ReaderBuilder::new().has_headers(false).from_reader(limited);
        let mut record = ByteRecord::new();
        let broken =
            |error: csv::Error| file.error(FileProblem::Damaged { format: "CSV", reason: error.to_string() });
        if !reader.read_byte_record(&mut record).map_err(broken)? {
            return Err(file.error(FileProblem::Damaged { format: "CSV", reason: "no header".into() }));
        }
        let header: Vec<String> =
            record.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
        let places = self.places(&header).map_err(|problem| file.error(problem))?;
        let bytes = (places.inputs.len() as u64 + 1) * size_of::<f32>() as u64;
        let mut row = 0;
        while reader.read_byte_record(&mut record).map_err(broken)? {
            self.budget.take(bytes)?;
            push_row(&record, &places, &header, classes, row, rows).map_err(|problem| file.error(problem))?;
            reader.get_mut().left = longest;
            row += 1;
        }
        Ok(())
    }

    fn places(&mut self, header: &[String]) -> Result<Places, FileProblem> {
        if header.len() > MAX_COLUMNS {
            let expected = format!("at most {MAX_COLUMNS}");
            return Err(FileProblem::Count { what: "columns", found: header.len(), expected });
        }
        let find = |column: &String| {
            let missing = || FileProblem::NoColumn { column: column.clone(), present: present(header) };
            let mut places = (0..).zip(header).filter(|(_, name)| *name == column).map(|(place, _)| place);
            let place = places.next().ok_or_else(missing)?;
            match places.next() {
                None => Ok(place),
                Some(_) => Err(FileProblem::ColumnTwice { column: shorten(column) }),
            }
        };
        let label = find(&self.label)?;
        let others = || header.iter().filter(|name| **name != self.label).cloned().collect();
        let columns = self.columns.get_or_insert_with(others);
        if columns.is_empty() {
            let expected = "at least one".to_owned();
            return Err(FileProblem::Count { what: "columns of inputs", found: 0, expected });
        }
        Ok(Places { label, inputs: columns.iter().map(find).collect::<Result<_, _>>()? })
    }
}

fn present(header: &[String]) -> String {
    let mut names: Vec<String> = header.iter().take(20).map(|name| shorten(name)).collect();
    if header.len() > names.len() {
        names.push("…".into());
    }
    names.join(", ")
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

fn push_row(
    record: &ByteRecord,
    places: &Places,
    header: &[String],
    classes: usize,
    row: usize,
    rows: &mut Rows,
) -> Result<(), FileProblem> {
    let cell = |place: usize| {
        let bytes = &record[place]; // The reader refuses rows of other lengths than the header's.
        std::str::from_utf8(bytes).map(str::trim).map_err(|_| String::from_utf8_lossy(bytes).into_owned())
    };
    let refuse = |place: usize, found: &str, expected: String| {
        let column = shorten(&header[place]);
        let found = format!("{:?}", shorten(found));
        FileProblem::Cell { place: format!("row {row}, column {column:?}"), found, expected }
    };
    for &place in &places.inputs {
        let number = cell(place).and_then(|text| match text.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(text.to_owned()),
        });
        rows.inputs.push(number.map_err(|found| refuse(place, &found, "a finite number".into()))?);
    }
    let label = cell(places.label).and_then(|text| {
        let label = text.parse::<u32>().ok().filter(|&label| (label as usize) < classes);
        label.ok_or_else(|| text.to_owned())
    });
    let expected = || format!("a class from 0 to {}", classes - 1);
    rows.targets.push(label.map_err(|found| refuse(places.label, &found, expected()))?);
    Ok(())
}

/// Fails when a row has taken more bytes than are left, so that a row without an end cannot fill the memory.
struct Limited<R> {
    reader: R,
    left: u64,
}

impl<R: std::io::Read> std::io::Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| std::io::Error::other("a row takes more than this worker's limit of memory"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
