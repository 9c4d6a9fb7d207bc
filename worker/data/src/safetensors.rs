//! Data sets in safetensors files: `inputs` [samples, ...], f32 values or u8 pixels, and `targets` [samples] of integers.

use ::safetensors::Dtype;
use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::keys;
use super::loading::Loading;
use super::memory::{Element, collected};
use super::report::Notes;
use super::samples::Samples;
use super::source::Source;
use super::tensor_file::{ANY_CLASS, TensorFile};
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, Rows, Split, check_classes};

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
    let parameters: SafetensorsParameters = keys::parse(parameters, &[])?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    let loading = Loading::new(environment);
    let open = |path: &str, key| open(Source::find(environment, path, key)?, &loading);
    let train = open(&parameters.train, "data.train")?;
    let test = match loading.new_samples().as_deref() {
        Some([file]) => Some(self::open(file.clone(), &loading)?),
        Some(files) => {
            let problem = format!("expected one file of new samples, found {}", files.len());
            return Err(DataError::Content { split: Split::Test, problem });
        }
        None => parameters.test.as_ref().map(|path| open(path, "data.test")).transpose()?,
    };
    let input_shape = train.shape[1..].to_vec();
    if let Some(test) = &test {
        check_same_shape(&input_shape, test)?;
    }
    let files = Splits { train, test, input_shape, classes };
    match files.train.file.dtype(INPUTS)? {
        Dtype::U8 => files.load(&loading, TensorFile::read_pixels),
        _ => files.load(&loading, TensorFile::read_inputs),
    }
}

/// The opened files of a data set.
struct Splits {
    train: SplitFile,
    test: Option<SplitFile>,
    input_shape: Vec<usize>,
    classes: Option<usize>,
}

impl Splits {
    /// Reads the files, whose inputs `read` gives.
    fn load<T: Element + 'static>(
        self,
        loading: &Loading,
        read: impl Fn(&mut TensorFile, &'static str) -> Result<Vec<T>, DataError>,
    ) -> Result<Box<dyn Dataset>, DataError> {
        let Self { mut train, mut test, input_shape, classes } = self;
        let bytes = [Some(&train), test.as_ref()].into_iter().flatten().map(SplitFile::bytes::<T>).sum();
        loading.keep(bytes)?;
        let size = input_shape.iter().product();
        let samples = |file: &mut SplitFile, classes| -> Result<Samples<T>, DataError> {
            let targets = file.file.read_targets(TARGETS, classes)?;
            Ok(Samples::of(Rows { inputs: read(&mut file.file, INPUTS)?, targets }, size))
        };
        let train = samples(&mut train, classes.unwrap_or(ANY_CLASS))?;
        let classes = classes.unwrap_or_else(|| train.classes());
        let test = match &mut test {
            Some(test) => samples(test, classes)?,
            None => Samples::new(size),
        };
        Ok(Box::new(collected(input_shape, classes, [train, test], loading, Notes::default())?))
    }
}

/// Checks the parameters and returns `None`: the shape is known from the files only.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let parameters: SafetensorsParameters = keys::parse(parameters, &[])?;
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
    /// Bytes of the samples in memory, whose values are of this type. Nothing overflows: the shape has been checked against
    /// the length of the file.
    fn bytes<T>(&self) -> u64 {
        let [values, targets] =
            [self.shape.iter().product::<usize>() * size_of::<T>(), self.shape[0] * size_of::<u32>()];
        (values + targets) as u64
    }
}

#[cfg(test)]
mod tests;
