//! The images of both splits: decoded in memory, in the depth that they need, or gathered for an index.

use lookbehind_common::digest::Digest;

use super::form::Form;
use super::header::{Depth, Header, Value};
use super::indexed::{self, Gathered};
use super::parameters::FormParameters;
use crate::loading::Loading;
use crate::memory::{self, Element};
use crate::report::Notes;
use crate::samples::{Blocks, Samples};
use crate::{DataError, Dataset, Split};

/// Images [channels, height, width]: the training split and the test split.
pub(super) enum Stored {
    Eight([Samples<u8>; 2]),
    Sixteen([Samples<u16>; 2]),
    Gathered(Gathered),
}

/// Bytes of a label in memory.
pub(super) const LABEL: u64 = size_of::<u32>() as u64;

impl Stored {
    /// No images yet, of this shape.
    pub(super) fn new(shape: Header) -> Self {
        let size = shape.size();
        match shape.depth {
            Depth::Eight => Self::Eight([Samples::new(size), Samples::new(size)]),
            Depth::Sixteen => Self::Sixteen([Samples::new(size), Samples::new(size)]),
        }
    }

    pub(super) fn targets(&mut self, split: Split) -> &mut Blocks<u32> {
        match self {
            Self::Eight(splits) => &mut splits[place(split)].targets,
            Self::Sixteen(splits) => &mut splits[place(split)].targets,
            Self::Gathered(gathered) => &mut gathered.splits[place(split)].targets,
        }
    }

    /// Bytes that an image takes in memory, in a form of this shape, with its label.
    pub(super) fn bytes(parameters: &FormParameters, shape: &Header) -> u64 {
        if parameters.is_indexed() { indexed::IMAGE } else { shape.bytes().saturating_add(LABEL) }
    }

    /// Number of images in a split.
    pub(super) fn len(&self, split: Split) -> usize {
        match self {
            Self::Eight(splits) => splits[place(split)].targets.len(),
            Self::Sixteen(splits) => splits[place(split)].targets.len(),
            Self::Gathered(gathered) => gathered.splits[place(split)].targets.len(),
        }
    }

    /// Number of classes that the labels of the training split need.
    pub(super) fn classes(&self) -> usize {
        match self {
            Self::Eight([train, _]) => train.classes(),
            Self::Sixteen([train, _]) => train.classes(),
            Self::Gathered(gathered) => gathered.splits[0].classes(),
        }
    }

    /// Brings the images to more channels or more depth: grey values become three equal ones, and 8 bits 16.
    pub(super) fn widened(self, from: Header, to: Header) -> Self {
        let times = to.channels / from.channels;
        match (self, to.depth) {
            (Self::Eight(splits), Depth::Eight) => Self::Eight(splits.map(|split| widened(split, to, times))),
            (Self::Eight(splits), Depth::Sixteen) => {
                Self::Sixteen(splits.map(|split| widened(split, to, times)))
            }
            (Self::Sixteen(splits), _) => Self::Sixteen(splits.map(|split| repeated(split, to, times))),
            // They are brought to the last form when they are read.
            (Self::Gathered(gathered), _) => Self::Gathered(gathered),
        }
    }

    /// The data set. One that was gathered is kept under a name, if there is one.
    pub(super) fn into_dataset(
        self,
        parameters: &FormParameters,
        (form, classes): (Form, usize),
        notes: Notes,
        name: Option<&Digest>,
        loading: &Loading,
    ) -> Result<Box<dyn Dataset>, DataError> {
        let shape = form.shape;
        let input_shape = vec![shape.channels, shape.height, shape.width];
        match self {
            Self::Gathered(gathered) => {
                Ok(Box::new(gathered.into_dataset(parameters, (form, classes), notes, name, loading)?))
            }
            Self::Eight(splits) => finished(input_shape, classes, splits, loading, notes),
            Self::Sixteen(splits) => finished(input_shape, classes, splits, loading, notes),
        }
    }
}

pub(super) fn place(split: Split) -> usize {
    match split {
        Split::Train => 0,
        Split::Test => 1,
    }
}

fn widened<T: Value>(samples: Samples<u8>, to: Header, times: usize) -> Samples<T> {
    let inputs = samples.inputs.converted(to.size(), |from, row| {
        (0..times).for_each(|_| row.extend(from.iter().map(|&value| T::of_eight(value))));
    });
    Samples { inputs, targets: samples.targets }
}

fn repeated(samples: Samples<u16>, to: Header, times: usize) -> Samples<u16> {
    let inputs = samples.inputs.converted(to.size(), |from, row| {
        (0..times).for_each(|_| row.extend_from_slice(from));
    });
    Samples { inputs, targets: samples.targets }
}

fn finished<T: Element + 'static>(
    input_shape: Vec<usize>,
    classes: usize,
    splits: [Samples<T>; 2],
    loading: &Loading,
    notes: Notes,
) -> Result<Box<dyn Dataset>, DataError> {
    Ok(Box::new(memory::collected(input_shape, classes, splits, loading, notes)?))
}
