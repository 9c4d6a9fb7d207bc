//! A data set in memory, as f32 values or as the pixels of images.

mod content;

use lookbehind_common::digest::Digest;

use super::loading::Loading;
use super::report::{DataReport, Notes};
use super::samples::{Blocks, Samples};
use super::{Batch, DataDescription, DataError, Dataset, MAX_CLASSES, SampleContext, Split, Target};
pub(crate) use content::{ContentHasher, Element};

/// Elements that are hashed between two questions whether to go on.
const PIECE: usize = 1 << 20;

/// The samples of one split: inputs of f32 values, or of pixels from 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<T = f32> {
    /// Elements of the inputs, one sample after the other, row-major.
    pub inputs: Vec<T>,
    /// Class of each sample.
    pub targets: Vec<u32>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { inputs: Vec::new(), targets: Vec::new() }
    }
}

/// A data set in memory, whose samples are used without augmentation.
#[derive(Debug)]
pub struct InMemory<T = f32> {
    description: DataDescription,
    train: Samples<T>,
    test: Samples<T>,
    notes: Notes,
}

impl InMemory {
    /// Makes a data set of samples whose inputs have `input_shape` and whose targets are below `classes`. The test
    /// split may be empty.
    ///
    /// # Errors
    /// When the training split is empty, the inputs of a split do not have the length that its targets need, or a
    /// target is not a class.
    pub fn new(input_shape: Vec<usize>, classes: usize, train: Rows, test: Rows) -> Result<Self, DataError> {
        of_rows(input_shape, classes, train, test)
    }
}

impl InMemory<u8> {
    /// Makes a data set of images [channels, height, width], whose pixels models get as values from 0 to 1.
    ///
    /// # Errors
    /// As [`InMemory::new`].
    pub fn images(
        input_shape: Vec<usize>,
        classes: usize,
        train: Rows<u8>,
        test: Rows<u8>,
    ) -> Result<Self, DataError> {
        of_rows(input_shape, classes, train, test)
    }
}

impl<T> InMemory<T> {
    fn split(&self, split: Split) -> &Samples<T> {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}

/// The data set of samples that were collected, whose inputs have the shape's number of elements each.
pub(crate) fn collected<T: Element>(
    input_shape: Vec<usize>,
    classes: usize,
    [train, test]: [Samples<T>; 2],
    loading: &Loading,
    notes: Notes,
) -> Result<InMemory<T>, DataError> {
    check_shape(&input_shape, classes, train.targets.len())?;
    let samples = checked(input_shape, classes, [train, test], || Ok(loading.check()?))?;
    Ok(InMemory { notes, ..samples })
}

fn of_rows<T: Element>(
    input_shape: Vec<usize>,
    classes: usize,
    train: Rows<T>,
    test: Rows<T>,
) -> Result<InMemory<T>, DataError> {
    check_shape(&input_shape, classes, train.targets.len())?;
    check_length(Split::Train, &input_shape, &train)?;
    check_length(Split::Test, &input_shape, &test)?;
    let size = input_shape.iter().product();
    let [train, test] = [train, test].map(|rows| Samples::of(rows, size));
    checked(input_shape, classes, [train, test], || Ok(()))
}

/// The data set of samples whose shapes are right; `check` is asked between pieces whether to go on.
fn checked<T: Element>(
    input_shape: Vec<usize>,
    classes: usize,
    [train, test]: [Samples<T>; 2],
    check: impl Fn() -> Result<(), DataError>,
) -> Result<InMemory<T>, DataError> {
    check_targets(Split::Train, classes, &train)?;
    check_targets(Split::Test, classes, &test)?;
    let fingerprint = fingerprint(&input_shape, classes, [&train, &test], check)?;
    let [train_samples, test_samples] = [&train, &test].map(|split| split.targets.len() as u64);
    let description = DataDescription { train_samples, test_samples, input_shape, classes, fingerprint };
    Ok(InMemory { description, train, test, notes: Notes::default() })
}

pub(crate) fn check_shape(
    input_shape: &[usize],
    classes: usize,
    train_samples: usize,
) -> Result<(), DataError> {
    let refuse = |problem| Err(DataError::Content { split: Split::Train, problem });
    if train_samples == 0 {
        return refuse("found 0 samples, expected at least 1".to_owned());
    }
    if input_shape.is_empty() || input_shape.contains(&0) {
        return refuse(format!("found inputs of shape {input_shape:?}, expected at least one number each"));
    }
    if classes == 0 || classes > MAX_CLASSES {
        return refuse(format!("found {classes} classes, expected 1 to {MAX_CLASSES}"));
    }
    Ok(())
}

fn check_length<T>(split: Split, input_shape: &[usize], rows: &Rows<T>) -> Result<(), DataError> {
    let samples = rows.targets.len();
    let elements = input_shape.iter().try_fold(samples, |elements, &extent| elements.checked_mul(extent));
    if elements == Some(rows.inputs.len()) {
        return Ok(());
    }
    let found = rows.inputs.len();
    let problem = format!("found {found} elements, expected {samples} samples of shape {input_shape:?}");
    Err(DataError::Content { split, problem })
}

pub(crate) fn check_targets<T>(split: Split, classes: usize, samples: &Samples<T>) -> Result<(), DataError> {
    let mut targets = samples.targets.slices().flatten().enumerate();
    match targets.find(|&(_, &target)| target as usize >= classes) {
        None => Ok(()),
        Some((row, found)) => {
            let problem = format!("row {row}: found class {found}, expected below {classes}");
            Err(DataError::Content { split, problem })
        }
    }
}

/// BLAKE3 over shapes, inputs and targets, so that it does not depend on the file format. Of images it covers the
/// decoded pixels, so that workers whose decoders disagree have different fingerprints. `check` is asked between pieces
/// whether to go on.
fn fingerprint<T: Element>(
    input_shape: &[usize],
    classes: usize,
    splits: [&Samples<T>; 2],
    check: impl Fn() -> Result<(), DataError>,
) -> Result<Digest, DataError> {
    let rows = splits.each_ref().map(|samples| samples.targets.len());
    let mut hasher = ContentHasher::new::<T>(input_shape, classes, rows);
    for samples in splits {
        for piece in samples.inputs.slices().flat_map(|slice| slice.chunks(PIECE)) {
            check()?;
            hasher.inputs(piece);
        }
        samples.targets.slices().for_each(|piece| hasher.targets(piece));
    }
    Ok(hasher.finish())
}

/// Number of samples of each class in both splits, whose targets are all below `classes`.
pub(crate) fn counted(classes: usize, splits: [&Blocks<u32>; 2]) -> Vec<[u64; 2]> {
    let mut samples = vec![[0; 2]; classes];
    for (split, targets) in splits.into_iter().enumerate() {
        targets.slices().flatten().for_each(|&target| samples[target as usize][split] += 1);
    }
    samples
}

impl<T: Element> Dataset for InMemory<T> {
    fn description(&self) -> &DataDescription {
        &self.description
    }

    fn report(&self) -> DataReport {
        let samples = counted(self.description.classes, [&self.train.targets, &self.test.targets]);
        let Notes { class_names, findings } = self.notes.clone();
        DataReport { description: self.description.clone(), class_names, samples, findings }
    }

    fn batch(&self, split: Split, samples: &[u64], _pass: SampleContext) -> Result<Batch, DataError> {
        let Samples { inputs: rows, targets: classes } = self.split(split);
        let size = self.description.input_size();
        let mut inputs = Vec::with_capacity(samples.len() * size);
        let mut targets = Vec::with_capacity(samples.len());
        for &sample in samples {
            let row = usize::try_from(sample).ok();
            let found = row.and_then(|row| Some((rows.get(row)?, classes.get(row)?)));
            let Some((elements, &[class])) = found else {
                return Err(DataError::NoSuchSample { sample, split, samples: classes.len() as u64 });
            };
            targets.push(Target::from(class));
            inputs.extend(elements.iter().map(|element| element.input()));
        }
        Ok(Batch::new(inputs, &self.description.input_shape, targets))
    }

    fn labels(&self, split: Split) -> Result<Vec<u32>, DataError> {
        Ok(self.split(split).targets.slices().flatten().copied().collect())
    }
}

#[cfg(test)]
mod tests;
