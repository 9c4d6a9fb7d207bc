//! CIFAR-10 and CIFAR-100 in the binary version of their authors (A. Krizhevsky, Learning Multiple Layers of Features
//! from Tiny Images, 2009): records of one or two labels and 3 × 32 × 32 pixels.

use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::files::{Files, in_folder};
use super::image::{Collector, FormParameters, load};
use super::keys;
use super::loading::Loading;
use super::source::{Paths, Source};
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, Split};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
/// Records that are read at once.
const BLOCK: usize = 256;

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CifarParameters {
    /// Folder that contains the files under their original names.
    folder: Option<String>,
    train: Option<Paths>,
    test: Option<Paths>,
    /// CIFAR-100 only.
    labels: Option<Labels>,
}

/// Which of CIFAR-100's two labels is the class.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Labels {
    Fine,
    Coarse,
}

/// Layout of a record, and the original names of the files.
struct Layout {
    /// Number of label bytes before the pixels.
    labels: usize,
    /// Index of the label byte that is the class.
    label: usize,
    classes: usize,
    train: &'static [&'static str],
    test: &'static [&'static str],
}

/// Loads CIFAR-10: inputs [3, 32, 32] from 0 to 1, 10 classes.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a file is missing, truncated, too large or has labels that are not
/// classes (this worker's).
pub fn cifar10(
    parameters: &Parameters,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let (parameters, layout) = of_10(&parameters)?;
    read(parameters, form, &layout, environment)
}

/// The input spec of CIFAR-10, which needs no files.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec_of_10(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let (parameters, layout) = of_10(&parameters)?;
    input_spec(parameters, &form, &layout)
}

fn of_10(parameters: &Parameters) -> Result<(CifarParameters, Layout), JobError> {
    let parameters: CifarParameters = keys::parse(parameters, &FormParameters::KEYS)?;
    if parameters.labels.is_some() {
        let problem = "cifar10 has one label for each image: the key is for cifar100";
        return Err(JobError::new("data.labels", problem));
    }
    let train =
        &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
    Ok((parameters, Layout { labels: 1, label: 0, classes: 10, train, test: &["test_batch.bin"] }))
}

/// Loads CIFAR-100: inputs [3, 32, 32] from 0 to 1, 100 fine or 20 coarse classes.
///
/// # Errors
/// As [`cifar10`].
pub fn cifar100(
    parameters: &Parameters,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let (parameters, layout) = of_100(&parameters)?;
    read(parameters, form, &layout, environment)
}

/// The input spec of CIFAR-100, which needs no files.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec_of_100(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let (parameters, layout) = of_100(&parameters)?;
    input_spec(parameters, &form, &layout)
}

fn of_100(parameters: &Parameters) -> Result<(CifarParameters, Layout), JobError> {
    let parameters: CifarParameters = keys::parse(parameters, &FormParameters::KEYS)?;
    let (label, classes) = match parameters.labels {
        None | Some(Labels::Fine) => (1, 100),
        Some(Labels::Coarse) => (0, 20),
    };
    Ok((parameters, Layout { labels: 2, label, classes, train: &["train.bin"], test: &["test.bin"] }))
}

fn input_spec(
    parameters: CifarParameters,
    form: &FormParameters,
    layout: &Layout,
) -> Result<Option<InputSpec>, JobError> {
    Files::new(parameters.folder, parameters.train, parameters.test)?;
    let [channels, height, width] = SHAPE;
    Ok(form.input_spec(Some([height, width]), Some(channels), Some(layout.classes)))
}

fn read(
    parameters: CifarParameters,
    form: FormParameters,
    layout: &Layout,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let files = Files::new(parameters.folder, parameters.train, parameters.test)?;
    let (train, test) = find(&files, layout, environment)?;
    load(&Loading::new(environment), form, Some(layout.classes), |split, _, images| {
        let files = if split == Split::Train { Some(&train) } else { test.as_ref() };
        files.into_iter().flatten().try_for_each(|file| read_file(file, layout, split, images))?;
        Ok(files.map(|files| Source::names(files)))
    })
}

/// The files of the training split, and those of the test split if there is one.
fn find(
    files: &Files<Paths>,
    layout: &Layout,
    environment: &DataEnvironment,
) -> Result<(Vec<Source>, Option<Vec<Source>>), DataError> {
    let named = |paths: &Paths, key| Source::find_all(environment, paths.as_slice(), key);
    match files {
        Files::In { folder } => {
            let usual = |names: &[&str]| {
                let paths: Vec<String> = names.iter().map(|name| in_folder(folder, name)).collect();
                Source::find_all(environment, &paths, "data.folder")
            };
            Ok((usual(layout.train)?, Some(usual(layout.test)?)))
        }
        Files::Named { train, test } => {
            let test = test.as_ref().map(|test| named(test, "data.test")).transpose()?;
            Ok((named(train, "data.train")?, test))
        }
    }
}

fn read_file(file: &Source, layout: &Layout, split: Split, images: &mut Collector) -> Result<(), DataError> {
    let record = layout.labels + PIXELS;
    let mut reader = file.reader(images.loading())?;
    let mut block = vec![0; BLOCK * record];
    let mut row = 0;
    loop {
        let filled = file.fill(reader.as_mut(), &mut block)?;
        let (mut pixels, mut labels) = (Vec::with_capacity(filled), Vec::with_capacity(BLOCK));
        for bytes in block[..filled].chunks(record) {
            let (label, image) = read_record(bytes, layout, row).map_err(|problem| file.error(problem))?;
            labels.push(label);
            pixels.extend_from_slice(image);
            row += 1;
        }
        let taken = images.extend_raw(split, SHAPE, &pixels, &labels);
        taken.map_err(|rejected| {
            rejected.into_error(|_, problem| file.error(FileProblem::image("the images", problem)))
        })?;
        if filled < block.len() {
            return Ok(());
        }
    }
}

fn read_record<'a>(bytes: &'a [u8], layout: &Layout, row: u64) -> Result<(u32, &'a [u8]), FileProblem> {
    let expected = layout.labels + PIXELS;
    if bytes.len() != expected {
        let what = format!("record {row}");
        return Err(FileProblem::Cut { what, found: bytes.len() as u64, expected: expected as u64 });
    }
    let (labels, image) = bytes.split_at(layout.labels);
    let label = labels[layout.label];
    if usize::from(label) >= layout.classes {
        return Err(FileProblem::label(&format!("record {row}"), label, layout.classes));
    }
    Ok((label.into(), image))
}

#[cfg(test)]
mod tests;
