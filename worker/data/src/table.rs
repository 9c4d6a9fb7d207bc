//! Tables in CSV and its relatives, plain, gzip or zstandard, and in Parquet: columns of numbers, truth values and texts,
//! or a column of images, and a column of labels.

mod cells;
mod columns;
mod content;
mod counting;
mod files;
mod header;
mod images;
mod labels;
mod numbers;
mod parameters;
mod picture;
mod rows;
mod text;
mod texts;

use std::collections::HashMap;

use lookbehind_common::job::{JobError, Parameters};

use super::loading::{Lent, Loading};
use super::memory::collected;
use super::places::Places;
use super::report::{Change, Findings, Notes, Reason};
use super::samples::Samples;
use super::source::Source;
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, Split};
use columns::{Columns, Read, Row, Rules};
use content::{Content, class_names, is_of_images};
use counting::Counting;
use header::{Found, Header, Use, find};
use labels::Labels;
use parameters::{TableParameters, Wanted};
use rows::Rows;
use texts::Texts;

pub(crate) use rows::Format;

/// Most columns of a table, and most inputs of a sample.
const MAX_COLUMNS: usize = 1 << 20;
/// Bytes that a column takes while a file is read, in addition to its name: its places in lists and in the index of
/// names, and a value of the present row.
const COLUMN: u64 = 400;

/// Loads a table in CSV: inputs of the given shape, by default one element for each column, or images that it names.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a file is missing, too large, lacks a column, or has a cell that is
/// not what its column needs (this worker's).
pub fn csv(parameters: &Parameters, environment: &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> {
    load(Format::Csv, parameters, environment)
}

/// Loads a table of a format.
pub(crate) fn load(
    format: Format,
    parameters: &Parameters,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let given = parameters;
    let parameters = TableParameters::parse(format, parameters)?;
    let classes = parameters.classes()?;
    let loading = Loading::new(environment);
    let places = Places::new(environment, &loading, files::may_be_asked_for);
    let train = files::find(format, &parameters.train, "data.train", environment, &places)?;
    let new = loading.new_samples();
    let are_new = new.is_some();
    let named = parameters.test.as_ref().filter(|_| !are_new);
    let test =
        named.map(|paths| files::find(format, paths, "data.test", environment, &places)).transpose()?;
    let test = new.or(test);
    if is_of_images(format, &parameters, &train, &loading)? {
        let splits = [train.as_slice(), test.as_deref().unwrap_or_default()];
        return images::read((format, given), &parameters, &places, &loading, splits);
    }
    let mut table = Table::new(format, &parameters, classes, &loading)?;
    table.collect_texts(&train)?;
    let files = [train.as_slice(), test.as_deref().unwrap_or_default()];
    if let Some(names) = class_names(format, &table.rules, &table.wanted.label, files, &loading)? {
        table.labels.name(names);
    }
    let classes = classes.or(table.labels.named());
    let mut train = table.read(Split::Train, &train)?;
    let mut class_names = table.labels.complete(Some(&mut train.targets));
    let classes = classes.unwrap_or_else(|| train.classes());
    class_names.truncate(classes);
    table.labels.limit(classes);
    table.may_lack_labels = are_new;
    let test = test.map(|test| table.read(Split::Test, &test)).transpose()?;
    let shape = shape(parameters.shape.clone(), table.width)?;
    let test = test.unwrap_or_else(|| Samples::new(table.width));
    let notes = Notes { class_names, findings: table.findings() };
    Ok(Box::new(collected(shape, classes, [train, test], &loading, notes)?))
}

/// The input spec of a table in CSV, without reading files; `None` unless the job gives classes and the shape or the
/// columns.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    input_spec_of(Format::Csv, parameters)
}

/// The input spec of a table of a format.
pub(crate) fn input_spec_of(format: Format, parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let parameters = TableParameters::parse(format, parameters)?;
    let (classes, wanted) = (parameters.classes()?, parameters.wanted()?);
    parameters.dialect()?;
    match parameters.content(format) {
        Content::Columns => {}
        Content::Images => return Ok(parameters.form.input_spec(None, None, classes)),
        Content::Found => return Ok(None),
    }
    let columns = wanted.inputs.filter(|_| wanted.one_hot.is_empty());
    let shape = match (parameters.shape, columns) {
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

fn shape(given: Option<Vec<usize>>, inputs: usize) -> Result<Vec<usize>, JobError> {
    let Some(shape) = given else { return Ok(vec![inputs]) };
    if elements(&shape) == Some(inputs) {
        return Ok(shape);
    }
    let problem = format!("expected a shape of {inputs} elements, one per input, found {shape:?}");
    Err(JobError::new("data.shape", &problem))
}

/// Number of elements of a sample, if it does not overflow.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |elements, &extent| elements.checked_mul(extent))
}

/// What all files of a data set share.
struct Table<'a> {
    format: Format,
    parameters: &'a TableParameters,
    rules: Rules,
    /// The columns that are read; those of inputs are known from the first file on.
    wanted: Wanted,
    /// Whether the job names the inputs, so that a column that counts the rows is meant.
    names_inputs: bool,
    /// The texts of the columns that become one input for each, in their order.
    texts: HashMap<String, HashMap<String, u32>>,
    labels: Labels,
    /// Number of inputs of a sample.
    width: usize,
    /// Whether the rows are new samples, which need no label; and how many had none.
    may_lack_labels: bool,
    unlabelled: u64,
    findings: Findings,
    replaced: u64,
    booleans: u64,
    /// The memory of the names and texts.
    lent: Lent,
    loading: &'a Loading,
}

impl<'a> Table<'a> {
    fn new(
        format: Format,
        parameters: &'a TableParameters,
        classes: Option<usize>,
        loading: &'a Loading,
    ) -> Result<Self, DataError> {
        let wanted = parameters.wanted()?;
        Ok(Self {
            rules: Rules { dialect: parameters.dialect()?, missing: parameters.missing },
            names_inputs: wanted.inputs.is_some(),
            wanted,
            texts: HashMap::new(),
            labels: Labels::new(parameters.labels, classes, loading)?,
            width: 0,
            may_lack_labels: false,
            unlabelled: 0,
            findings: Findings::default(),
            replaced: 0,
            booleans: 0,
            lent: loading.lend(0)?,
            loading,
            format,
            parameters,
        })
    }

    fn read(&mut self, split: Split, files: &[Source]) -> Result<Samples<f32>, DataError> {
        let mut samples = None;
        let mut counting = (split == Split::Train && !self.names_inputs).then(Counting::default);
        for file in files {
            let mut rows = Rows::open(self.format, file, &self.rules.dialect, self.loading)?;
            let columns = self.columns(split, file, &mut rows)?;
            let samples = samples.get_or_insert_with(|| Samples::new(columns.width()));
            self.width = columns.width();
            if let Some(counting) = &mut counting {
                counting.begin_file();
            }
            self.read_rows(split, file, &mut rows, &columns, samples, counting.as_mut())?;
            if let Some(place) = counting.as_ref().and_then(Counting::found) {
                let column = header::shorten(&columns.header[place]);
                return Err(file.error(FileProblem::RowNumbers { column }));
            }
        }
        match samples {
            Some(samples) if samples.targets.len() > 0 => Ok(samples),
            _ => Err(DataError::Empty { split, files: Source::names(files) }),
        }
    }

    fn read_rows(
        &mut self,
        split: Split,
        file: &Source,
        rows: &mut Rows<'_>,
        columns: &Columns,
        samples: &mut Samples<f32>,
        mut counting: Option<&mut Counting>,
    ) -> Result<(), DataError> {
        let bytes = (columns.width() as u64 + 1) * size_of::<f32>() as u64;
        let mut row = Row::new(columns.header.len());
        let mut sample = Vec::with_capacity(columns.width());
        loop {
            let line = rows.place_of_next()?;
            let left_out = match columns.read_row(file, rows, &self.rules, &mut self.labels, &mut row)? {
                Read::End => return Ok(()),
                Read::Blank => Some(Reason::BlankRow),
                Read::Incomplete => Some(Reason::MissingValue),
                Read::Row => None,
            };
            if let Some(reason) = left_out {
                self.findings.leave_out(split, reason, || format!("{}, {line}", file.name()));
                continue;
            }
            self.loading.keep(bytes)?;
            row.sample(columns, &mut sample);
            samples.inputs.push(sample.iter().copied());
            samples.targets.push([row.label]);
            self.replaced += row.replaced;
            self.booleans += row.booleans;
            self.unlabelled += u64::from(!columns.uses.contains(&Use::Label));
            if let Some(counting) = &mut counting {
                counting.row(&columns.inputs, &row.values);
            }
        }
    }

    /// Reads the header, and finds the columns in it.
    fn columns(&mut self, split: Split, file: &Source, rows: &mut Rows<'_>) -> Result<Columns, DataError> {
        let mut lent = self.loading.lend(0)?;
        let header = self.header(file, rows, &mut lent)?;
        let (no_data, is_line) = (rows.index_columns(), self.format == Format::Csv && self.parameters.header);
        let names = Header { names: &header, no_data: &no_data, is_line };
        let found = find(&names, &self.wanted, &self.parameters.ordinal, &self.texts, self.may_lack_labels);
        let Found { uses, inputs, unnamed } = found.map_err(|problem| file.error(problem))?;
        for place in unnamed {
            let name = || format!("{}, column {place} from 0", file.name());
            self.findings.leave_out(split, Reason::UnnamedColumn, name);
        }
        if self.wanted.inputs.is_none() {
            let bytes = header.iter().map(|name| COLUMN + name.len() as u64).sum();
            self.lent.grow(bytes)?;
            self.wanted.inputs = Some(inputs.iter().map(|&place| header[place].clone()).collect());
        }
        let width: usize = uses.iter().map(Use::width).sum();
        if width > MAX_COLUMNS {
            let (what, expected) = ("inputs of a sample", format!("at most {MAX_COLUMNS}"));
            return Err(file.error(FileProblem::Count { what, found: width, expected }));
        }
        rows.select(&uses)?;
        Ok(Columns { header, uses, inputs, _lent: lent })
    }

    /// The names of the columns; their numbers if the first line is a row.
    fn header(&self, file: &Source, rows: &mut Rows<'_>, lent: &mut Lent) -> Result<Vec<String>, DataError> {
        rows.header(file, self.parameters.header, &self.rules.dialect, self.loading, lent)
    }

    /// Collects the texts of the columns that become one input for each, from the training split.
    fn collect_texts(&mut self, files: &[Source]) -> Result<(), DataError> {
        if self.wanted.one_hot.is_empty() {
            return Ok(());
        }
        let mut texts = Texts::new(&self.wanted.one_hot, self.loading)?;
        for file in files {
            let mut rows = Rows::open(self.format, file, &self.rules.dialect, self.loading)?;
            let mut lent = self.loading.lend(0)?;
            let header = self.header(file, &mut rows, &mut lent)?;
            texts.collect(file, &header, &mut rows)?;
        }
        (self.texts, self.lent) = texts.numbered();
        Ok(())
    }

    /// What the owner of the data should know.
    fn findings(mut self) -> Vec<super::Finding> {
        self.findings.convert(Change::MissingReplaced, self.replaced);
        self.findings.convert(Change::Booleans, self.booleans);
        self.findings.convert(Change::Unlabelled, self.unlabelled);
        self.findings.into_vec()
    }
}

#[cfg(test)]
mod tests;
