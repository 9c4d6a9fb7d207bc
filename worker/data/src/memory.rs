//! A data set in memory, as f32 values or as the pixels of images.

use lookbehind_common::digest::Digest;

use super::{Batch, DataDescription, DataError, Dataset, MAX_CLASSES, SampleContext, Split, Target};

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

impl<T> Rows<T> {
    /// Number of classes that the targets need: one more than the greatest target, 0 without samples.
    pub(crate) fn classes(&self) -> usize {
        self.targets.iter().max().map_or(0, |&greatest| greatest as usize + 1)
    }
}

/// Element type of inputs in memory.
trait Element: Copy + Send + Sync + std::fmt::Debug {
    /// First bytes of a fingerprint, so that pixels and f32 values never have the same one.
    const TAG: &'static [u8];

    /// The value that the model gets.
    fn input(self) -> f32;

    fn update(hasher: &mut blake3::Hasher, inputs: &[Self]);
}

impl Element for f32 {
    const TAG: &'static [u8] = b"";

    fn input(self) -> f32 {
        self
    }

    fn update(hasher: &mut blake3::Hasher, inputs: &[Self]) {
        update_words(hasher, inputs.iter().map(|value| value.to_bits()));
    }
}

impl Element for u8 {
    const TAG: &'static [u8] = b"pixels";

    fn input(self) -> f32 {
        f32::from(self) / 255.0
    }

    fn update(hasher: &mut blake3::Hasher, inputs: &[Self]) {
        hasher.update(inputs);
    }
}

/// A data set in memory, whose samples are used without augmentation.
#[derive(Debug)]
pub struct InMemory<T = f32> {
    description: DataDescription,
    train: Rows<T>,
    test: Rows<T>,
}

impl InMemory {
    /// Makes a data set of samples whose inputs have `input_shape` and whose targets are below `classes`. The test
    /// split may be empty.
    ///
    /// # Errors
    /// When the training split is empty, the inputs of a split do not have the length that its targets need, or a
    /// target is not a class.
    pub fn new(input_shape: Vec<usize>, classes: usize, train: Rows, test: Rows) -> Result<Self, DataError> {
        checked(input_shape, classes, train, test)
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
        checked(input_shape, classes, train, test)
    }
}

fn checked<T: Element>(
    input_shape: Vec<usize>,
    classes: usize,
    train: Rows<T>,
    test: Rows<T>,
) -> Result<InMemory<T>, DataError> {
    check_shape(&input_shape, classes, &train)?;
    check_rows(Split::Train, &input_shape, classes, &train)?;
    check_rows(Split::Test, &input_shape, classes, &test)?;
    let description = DataDescription {
        train_samples: train.targets.len() as u64,
        test_samples: test.targets.len() as u64,
        fingerprint: fingerprint(&input_shape, classes, [&train, &test]),
        input_shape,
        classes,
    };
    Ok(InMemory { description, train, test })
}

fn check_shape<T>(input_shape: &[usize], classes: usize, train: &Rows<T>) -> Result<(), DataError> {
    let refuse = |problem| Err(DataError::Content { split: Split::Train, problem });
    if train.targets.is_empty() {
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

fn check_rows<T>(
    split: Split,
    input_shape: &[usize],
    classes: usize,
    rows: &Rows<T>,
) -> Result<(), DataError> {
    let samples = rows.targets.len();
    let elements = input_shape.iter().try_fold(samples, |elements, &extent| elements.checked_mul(extent));
    if elements != Some(rows.inputs.len()) {
        let found = rows.inputs.len();
        let problem = format!("found {found} elements, expected {samples} samples of shape {input_shape:?}");
        return Err(DataError::Content { split, problem });
    }
    match rows.targets.iter().position(|&target| target as usize >= classes) {
        None => Ok(()),
        Some(row) => {
            let problem = format!("row {row}: found class {}, expected below {classes}", rows.targets[row]);
            Err(DataError::Content { split, problem })
        }
    }
}

/// BLAKE3 over shapes, inputs and targets, so that it does not depend on the file format. Of images it covers the
/// decoded pixels, so that workers whose decoders disagree have different fingerprints.
fn fingerprint<T: Element>(input_shape: &[usize], classes: usize, splits: [&Rows<T>; 2]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(T::TAG);
    let mut number = |value: usize| {
        hasher.update(&(value as u64).to_le_bytes());
    };
    number(classes);
    number(input_shape.len());
    input_shape.iter().for_each(|&extent| number(extent));
    splits.iter().for_each(|rows| number(rows.targets.len()));
    for rows in splits {
        T::update(&mut hasher, &rows.inputs);
        update_words(&mut hasher, rows.targets.iter().copied());
    }
    Digest(*hasher.finalize().as_bytes())
}

fn update_words(hasher: &mut blake3::Hasher, words: impl Iterator<Item = u32>) {
    const BLOCK: usize = 1 << 16;
    let mut block = Vec::with_capacity(BLOCK);
    for word in words {
        block.extend_from_slice(&word.to_le_bytes());
        if block.len() == BLOCK {
            hasher.update(&block);
            block.clear();
        }
    }
    hasher.update(&block);
}

impl<T: Element> Dataset for InMemory<T> {
    fn description(&self) -> &DataDescription {
        &self.description
    }

    fn batch(&self, split: Split, samples: &[u64], _pass: SampleContext) -> Result<Batch, DataError> {
        let rows = match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        };
        let size = self.description.input_size();
        let mut inputs = Vec::with_capacity(samples.len() * size);
        let mut targets = Vec::with_capacity(samples.len());
        for &sample in samples {
            let missing = || DataError::NoSuchSample { sample, split, samples: rows.targets.len() as u64 };
            let row = usize::try_from(sample).map_err(|_| missing())?;
            targets.push(Target::from(*rows.targets.get(row).ok_or_else(missing)?));
            inputs.extend(rows.inputs[row * size..(row + 1) * size].iter().map(|element| element.input()));
        }
        Ok(Batch::new(inputs, &self.description.input_shape, targets))
    }
}

#[cfg(test)]
mod tests;
