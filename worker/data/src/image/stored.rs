//! The decoded images of both splits in memory, in the depth that they need.

use super::header::{Depth, Header, Value};
use crate::loading::Loading;
use crate::memory::{self, Element};
use crate::report::Notes;
use crate::samples::{Blocks, Samples};
use crate::{DataError, Dataset, Split};

/// Images [channels, height, width]: the training split and the test split.
pub(super) enum Stored {
    Eight([Samples<u8>; 2]),
    Sixteen([Samples<u16>; 2]),
}

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
        }
    }

    /// Number of images in a split.
    pub(super) fn len(&self, split: Split) -> usize {
        match self {
            Self::Eight(splits) => splits[place(split)].targets.len(),
            Self::Sixteen(splits) => splits[place(split)].targets.len(),
        }
    }

    /// Number of classes that the labels of the training split need.
    pub(super) fn classes(&self) -> usize {
        match self {
            Self::Eight([train, _]) => train.classes(),
            Self::Sixteen([train, _]) => train.classes(),
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
        }
    }

    pub(super) fn into_dataset(
        self,
        shape: Header,
        classes: usize,
        loading: &Loading,
        notes: Notes,
    ) -> Result<Box<dyn Dataset>, DataError> {
        let input_shape = vec![shape.channels, shape.height, shape.width];
        match self {
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
