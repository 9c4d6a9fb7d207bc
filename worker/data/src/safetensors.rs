//! Data sets in safetensors files: `inputs` f32 [samples, ...] and `targets` [samples] of integers.

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::loading::Loading;
use super::memory::collected;
use super::samples::Samples;
use super::source::Source;
use super::tensor_file::{ANY_CLASS, TensorFile};
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, Rows, check_classes};

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
    let loading = Loading::new(environment);
    let open = |path: &str, key| open(Source::find(environment, path, key)?, &loading);
    let mut train = open(&parameters.train, "data.train")?;
    let mut test = parameters.test.as_ref().map(|path| open(path, "data.test")).transpose()?;
    let input_shape = train.shape[1..].to_vec();
    if let Some(test) = &test {
        check_same_shape(&input_shape, test)?;
    }
    loading.keep([Some(&train), test.as_ref()].into_iter().flatten().map(SplitFile::bytes).sum())?;

    let size = input_shape.iter().product();
    let train = Samples::of(train.read(classes.unwrap_or(ANY_CLASS))?, size);
    let classes = classes.unwrap_or_else(|| train.classes());
    let test = match &mut test {
        Some(test) => Samples::of(test.read(classes)?, size),
        None => Samples::new(size),
    };
    Ok(Box::new(collected(input_shape, classes, [train, test], &loading)?))
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

fn open(source: Source, loading: &Loading) -> Result<SplitFile, DataError> {
    let file = TensorFile::open(source, [INPUTS, TARGETS], loading)?;
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

impl SplitFile {
    /// Bytes of the samples in memory. Nothing overflows: the shape has been checked against the length of the file.
    fn bytes(&self) -> u64 {
        let numbers = self.shape.iter().product::<usize>() + self.shape[0];
        (size_of::<f32>() * numbers) as u64
    }

    fn read(&mut self, classes: usize) -> Result<Rows, DataError> {
        let targets = self.file.read_targets(TARGETS, classes)?;
        Ok(Rows { inputs: self.file.read_inputs(INPUTS)?, targets })
    }
}

#[cfg(test)]
mod tests;
