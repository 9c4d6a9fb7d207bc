//! CIFAR-10 and CIFAR-100 as their authors distribute them (A. Krizhevsky, Learning Multiple Layers of Features from Tiny
//! Images, 2009), packed or unpacked: the binary version, records of one or two labels and 3 × 32 × 32 pixels, and the Python
//! version, pickled batches of the same.

mod batch;

use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::archive::within;
use super::files::Files;
use super::foreign::in_place_of_bytes;
use super::image::{Collector, FormParameters, load};
use super::keys;
use super::loading::Loading;
use super::pickle::is_pickle;
use super::places::Places;
use super::source::{Paths, Source};
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, Split};
use batch::read_batch;

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
    /// Key of the labels in batches of the Python version.
    labels_key: &'static str,
    versions: [Version; 2],
}

/// One of the two versions in which the data are distributed.
#[derive(Clone, Copy)]
struct Version {
    /// Name of the archive, and of the folder in it.
    archive: &'static str,
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
}

/// The binary and the Python version of CIFAR-10 and of CIFAR-100.
const TEN: [Version; 2] = [
    Version {
        archive: "cifar-10-binary.tar.gz",
        folder: "cifar-10-batches-bin",
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: &["test_batch.bin"],
    },
    Version {
        archive: "cifar-10-python.tar.gz",
        folder: "cifar-10-batches-py",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: &["test_batch"],
    },
];
const HUNDRED: [Version; 2] = [
    Version {
        archive: "cifar-100-binary.tar.gz",
        folder: "cifar-100-binary",
        train: &["train.bin"],
        test: &["test.bin"],
    },
    Version {
        archive: "cifar-100-python.tar.gz",
        folder: "cifar-100-python",
        train: &["train"],
        test: &["test"],
    },
];

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
    Ok((parameters, Layout { labels: 1, label: 0, classes: 10, labels_key: "labels", versions: TEN }))
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
    let (label, classes, labels_key) = match parameters.labels {
        None | Some(Labels::Fine) => (1, 100, "fine_labels"),
        Some(Labels::Coarse) => (0, 20, "coarse_labels"),
    };
    Ok((parameters, Layout { labels: 2, label, classes, labels_key, versions: HUNDRED }))
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
    let loading = Loading::new(environment);
    let places = Places::new(environment, &loading, |_| true);
    let (train, test) = find(&files, layout, &places)?;
    load(&loading, form, Some(layout.classes), |split, _, images| {
        let files = if split == Split::Train { Some(&train) } else { test.as_ref() };
        files.into_iter().flatten().try_for_each(|file| read_file(file, layout, split, images))?;
        Ok(files.map(|files| Source::names(files)))
    })
}

/// The files of the training split, and those of the test split if there is one.
fn find(
    files: &Files<Paths>,
    layout: &Layout,
    places: &Places<'_>,
) -> Result<(Vec<Source>, Option<Vec<Source>>), DataError> {
    match files {
        Files::In { folder } => {
            let (version, folder) = version(folder, layout, places)?;
            let usual = |names: &[&str]| -> Result<Vec<Source>, DataError> {
                names.iter().map(|name| places.file(&within(&folder, name), "data.folder")).collect()
            };
            Ok((usual(version.train)?, Some(usual(version.test)?)))
        }
        Files::Named { train, test } => {
            let test = test.as_ref().map(|test| places.files(test, "data.test")).transpose()?;
            Ok((places.files(train, "data.train")?, test))
        }
    }
}

/// Which version there is in a folder or archive, and where in it: its files, the folder with them, or the archive.
fn version(folder: &str, layout: &Layout, places: &Places<'_>) -> Result<(Version, String), DataError> {
    let folder = folder.trim_end_matches('/');
    let candidates = layout.versions.iter().flat_map(|version| {
        let packed = within(folder, &within(version.archive, version.folder));
        [folder.to_owned(), within(folder, version.folder), packed].map(|place| (*version, place))
    });
    let mut first = None;
    for (version, place) in candidates {
        let found = version.train.first().map(|name| places.file(&within(&place, name), "data.folder"));
        match found {
            Some(Ok(_)) => return Ok((version, place)),
            // An archive that is there and cannot be used is what went wrong.
            Some(Err(error)) if !error.is_missing_file() => return Err(error),
            Some(Err(error)) => first = first.or(Some(error)),
            None => {}
        }
    }
    #[expect(clippy::expect_used, reason = "each version has files, and the first candidate failed")]
    Err(first.expect("an error of the first candidate"))
}

fn read_file(file: &Source, layout: &Layout, split: Split, images: &mut Collector) -> Result<(), DataError> {
    let record = layout.labels + PIXELS;
    let mut reader = file.reader(images.loading())?;
    let start = reader.fill_buf().map_err(|error| file.error(FileProblem::Io(error)))?;
    if is_pickle(start) {
        drop(reader);
        return read_batch(file, layout, split, images);
    }
    if let Some(found) = in_place_of_bytes(start).filter(|_| !start.is_empty()) {
        return Err(file.error(FileProblem::Instead { found: found.to_owned() }));
    }
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
