//! Data sets in safetensors files: `inputs` f32 [samples, ...] and `targets` [samples] of integers.

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::source::Source;
use super::tensor_file::{ANY_CLASS, TensorFile};
use super::{DataEnvironment, DataError, Dataset, FileProblem, InMemory, InputSpec, Rows, check_classes};

const INPUTS: &str = "inputs";
const TARGETS: &str = "targets";

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SafetensorsParameters {
    /// File of the training split.
    train: String,
    /// File of the test split.
    test: Option<String>,
    /// Number of classes; by default one more than the greatest target of the training split.
    classes: Option<u64>,
}

/// Loads a data set from one or two safetensors files.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a file is missing, damaged, too large, or holds values that cannot
/// be trained on (this worker's).
pub fn safetensors(
    parameters: &Parameters,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let parameters: SafetensorsParameters = parse_parameters("data", parameters)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    let mut train = open(environment, &parameters.train, "data.train")?;
    let mut test = match &parameters.test {
        Some(path) => Some(open(environment, path, "data.test")?),
        None => None,
    };
    let input_shape = train.shape[1..].to_vec();
    if let Some(test) = &test {
        check_same_shape(&input_shape, test)?;
    }
    check_memory(environment.memory_limit, [Some(&train), test.as_ref()])?;

    let train_rows = train.read(classes.unwrap_or(ANY_CLASS))?;
    let classes = classes.unwrap_or_else(|| train_rows.classes());
    let test_rows = match &mut test {
        Some(test) => test.read(classes)?,
        None => Rows::default(),
    };
    Ok(Box::new(InMemory::new(input_shape, classes, train_rows, test_rows)?))
}

/// Checks the parameters and returns `None`: the shape is known from the files only.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let parameters: SafetensorsParameters = parse_parameters("data", parameters)?;
    parameters.classes.map(check_classes).transpose()?;
    Ok(None)
}

/// A file whose two tensors fit each other.
struct SplitFile {
    file: TensorFile,
    /// Shape of the inputs, samples first.
    shape: Vec<usize>,
}

fn open(environment: &DataEnvironment, path: &str, key: &str) -> Result<SplitFile, DataError> {
    let source = Source::find(environment, path, key)?;
    let file = TensorFile::open(source.path(), path)?;
    let shape = file.shape(INPUTS)?;
    let targets = file.shape(TARGETS)?;
    let refuse = |tensor, found, expected| Err(file.error(FileProblem::Shape { tensor, found, expected }));
    if shape.len() < 2 || shape.contains(&0) {
        return refuse(INPUTS, shape, "[samples, ...] with at least one sample and number".to_owned());
    }
    if targets != shape[..1] {
        return refuse(TARGETS, targets, format!("{:?}: one for each of the inputs", &shape[..1]));
    }
    Ok(SplitFile { file, shape })
}

fn check_same_shape(input_shape: &[usize], test: &SplitFile) -> Result<(), DataError> {
    if &test.shape[1..] == input_shape {
        return Ok(());
    }
    let expected = format!("samples of shape {input_shape:?} as in the training split");
    Err(test.file.error(FileProblem::Shape { tensor: INPUTS, found: test.shape.clone(), expected }))
}

/// Nothing overflows here: the shapes have been checked against the lengths of the files.
fn check_memory(limit: u64, files: [Option<&SplitFile>; 2]) -> Result<(), DataError> {
    let word = size_of::<f32>() as u64;
    let elements = |file: &SplitFile| file.shape.iter().product::<usize>() as u64 + file.shape[0] as u64;
    let needed = word * files.into_iter().flatten().map(elements).sum::<u64>();
    if needed <= limit { Ok(()) } else { Err(DataError::Memory { needed, limit }) }
}

impl SplitFile {
    fn read(&mut self, classes: usize) -> Result<Rows, DataError> {
        let targets = self.file.read_targets(TARGETS, classes)?;
        Ok(Rows { inputs: self.file.read_inputs(INPUTS)?, targets })
    }
}

#[cfg(test)]
mod tests;
