//! Samples in the form that a model takes: the values of a data set as a tensor.

use candle_core::{Device, Tensor};

use crate::data::{self, DataDescription, DataError, Split, Target};

/// Some samples, ready to compute with. Clones share the inputs.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Inputs, f32 [n, ...input_shape]; on the CPU until a GPU's thread takes them.
    pub(super) inputs: Tensor,
    /// The target of each sample.
    pub(super) targets: Vec<Target>,
    /// Label smoothing: the share of every target that is spread evenly over all classes.
    pub(super) smoothing: f32,
}

impl Batch {
    /// Takes what a data set returned when it was asked for `samples` samples. The values are moved, not copied.
    ///
    /// # Errors
    /// If it is not what was asked for.
    pub(super) fn new(
        batch: data::Batch,
        split: Split,
        samples: usize,
        description: &DataDescription,
    ) -> Result<Self, DataError> {
        batch.check(split, samples, description)?;
        let data::Batch { inputs, shape, targets, smoothing } = batch;
        #[expect(clippy::expect_used, reason = "the check above")]
        let inputs = Tensor::from_vec(inputs, shape, &Device::Cpu).expect("as many values as the shape has");
        Ok(Self { inputs, targets, smoothing })
    }
}
