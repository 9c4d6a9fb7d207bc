//! Tables in CSV: a header, columns of numbers and a column of labels; plain, gzip or zstandard.

mod cells;
mod columns;

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::loading::{Lent, Loading};
use super::memory::collected;
use super::samples::Samples;
use super::source::{Paths, Source};
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, MAX_CLASSES, Split, check_classes};
use cells::Cells;
use columns::{Columns, Names, Row, find};

/// Most columns of a table.
const MAX_COLUMNS: usize = 1 << 20;
/// Bytes that a column takes while a file is read, in addition to its name: its places in lists and in the index of
/// names, and a value of the present row.
const COLUMN: u64 = 320;

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

    let loading = Loading::new(environment);
    let mut table = Table { label: parameters.label, columns: parameters.columns, _names: None, loading };
    let train = table.read(Split::Train, &train, classes.unwrap_or(MAX_CLASSES))?;
    let classes = classes.unwrap_or_else(|| train.classes());
    let test = test.map(|test| table.read(Split::Test, &test, classes)).transpose()?;
    #[expect(clippy::expect_used, reason = "there is at least one file")]
    let columns = table.columns.expect("columns, which the first file has given").len();
    let shape = shape(parameters.shape, columns)?;
    let test = test.unwrap_or_else(|| Samples::new(columns));
    Ok(Box::new(collected(shape, classes, [train, test], &table.loading)?))
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
    /// The memory of the names, if they are those of the first file.
    _names: Option<Lent>,
    loading: Loading,
}

impl Table {
    fn read(&mut self, split: Split, files: &[Source], classes: usize) -> Result<Samples<f32>, DataError> {
        let mut samples = None;
        for file in files {
            let mut cells = Cells::open(file, &self.loading)?;
            let columns = self.columns(file, &mut cells)?;
            let samples = samples.get_or_insert_with(|| Samples::new(columns.inputs.len()));
            self.read_rows(file, &mut cells, &columns, classes, samples)?;
        }
        match samples {
            Some(samples) if samples.targets.len() > 0 => Ok(samples),
            _ => Err(DataError::Empty { split, files: Source::names(files) }),
        }
    }

    fn read_rows(
        &self,
        file: &Source,
        cells: &mut Cells<'_>,
        columns: &Columns,
        classes: usize,
        samples: &mut Samples<f32>,
    ) -> Result<(), DataError> {
        let bytes = (columns.inputs.len() as u64 + 1) * size_of::<f32>() as u64;
        let mut row = Row { numbers: vec![0.0; columns.header.len()], label: 0 };
        let mut number = 0;
        while columns.read_row(file, cells, classes, number, &mut row)? {
            self.loading.keep(bytes)?;
            samples.inputs.push(columns.inputs.iter().map(|&place| row.numbers[place]));
            samples.targets.push([row.label]);
            number += 1;
        }
        Ok(())
    }

    /// Reads the header, and finds the columns in it.
    fn columns(&mut self, file: &Source, cells: &mut Cells<'_>) -> Result<Columns, DataError> {
        let mut lent = self.loading.lend(0)?;
        let (mut header, place) = (Vec::new(), || "header".to_owned());
        while let Some(cell) = cells.next(place, place)? {
            if header.len() == MAX_COLUMNS {
                let (found, expected) = (header.len() + 1, format!("at most {MAX_COLUMNS}"));
                return Err(file.error(FileProblem::Count { what: "columns", found, expected }));
            }
            lent.grow(COLUMN + 2 * cell.bytes.len() as u64)?;
            header.push(String::from_utf8_lossy(cell.bytes).trim().to_owned());
            if cell.ends_row {
                break;
            }
        }
        if header.is_empty() {
            return Err(file.error(FileProblem::Damaged { format: "CSV", reason: "no header".into() }));
        }
        let wanted = Names { label: &self.label, inputs: self.columns.as_deref() };
        let (uses, inputs) = find(&header, wanted).map_err(|problem| file.error(problem))?;
        if self.columns.is_none() {
            let bytes = header.iter().map(|name| COLUMN + name.len() as u64).sum();
            self._names = Some(self.loading.lend(bytes)?);
            self.columns = Some(inputs.iter().map(|&place| header[place].clone()).collect());
        }
        Ok(Columns { header, uses, inputs, _lent: lent })
    }
}

#[cfg(test)]
mod tests;
