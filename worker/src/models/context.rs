//! The context of a forward pass: whether it is for training, which keyed randomness it draws from, and where
//! normalisation layers report their batch statistics.

use std::cell::RefCell;

use candle_core::{Device, Result, Tensor};
use lookbehind_common::random::{Key, Purpose};

/// Whether a forward pass is part of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout is active; normalisation layers use the statistics of their batch and report them, unless these are frozen.
    Train,
    /// Nothing is dropped; normalisation layers use their running statistics.
    Test,
}

/// The position of a forward pass in a job; the key of its randomness. All gradients of a batch share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchPosition {
    /// The job's seed.
    pub seed: u64,
    /// Epoch of the batch.
    pub epoch: u64,
    /// Batch within the epoch.
    pub batch: u64,
}

/// The context of one forward pass over some samples.
pub struct ForwardContext<'a> {
    mode: Mode,
    position: BatchPosition,
    samples: &'a [u64],
    frozen_statistics: bool,
    reported: RefCell<Vec<(String, Tensor)>>,
}

impl<'a> ForwardContext<'a> {
    /// The context of a forward pass over the samples with the given numbers within the data set.
    pub fn new(mode: Mode, position: BatchPosition, samples: &'a [u64]) -> Self {
        Self { mode, position, samples, frozen_statistics: false, reported: RefCell::default() }
    }

    /// The same for a job whose running statistics are frozen or not.
    #[must_use]
    pub fn with_frozen_statistics(self, frozen_statistics: bool) -> Self {
        Self { frozen_statistics, ..self }
    }

    /// Whether normalisation layers use the statistics of their batch, and report them: in training, unless the job's
    /// running statistics are frozen.
    pub fn uses_batch_statistics(&self) -> bool {
        self.is_training() && !self.frozen_statistics
    }

    /// Whether the forward pass is part of a gradient.
    pub fn is_training(&self) -> bool {
        self.mode == Mode::Train
    }

    /// Number of samples in the forward pass.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Dropout (Srivastava et al., JMLR 15, 2014) of `x` [n, ...] with the given probability: in training, elements are
    /// zeroed at random and the others scaled by 1 / (1 − probability). `layer` distinguishes the dropout layers of a
    /// model.
    ///
    /// # Errors
    /// If the probability is not in [0, 1) or `x` does not have one row for each sample.
    pub fn dropout(&self, layer: u32, probability: f32, x: &Tensor) -> Result<Tensor> {
        if !(0.0..1.0).contains(&probability) {
            candle_core::bail!("dropout probability {probability}, expected 0 or more and below 1");
        }
        let rows = x.dims().first().copied();
        if rows != Some(self.samples.len()) {
            candle_core::bail!("dropout of {:?}, expected {} rows", x.dims(), self.samples.len());
        }
        if !self.is_training() || probability == 0.0 {
            return Ok(x.clone());
        }
        x * self.keep_mask(layer, probability, &x.dims()[1..], x.device())?.to_dtype(x.dtype())?
    }

    /// A mask [n, ...row_shape] of zeros and 1 / (1 − probability). A sample's row depends on seed, layer, epoch, batch
    /// and the sample alone: not on the shard, the gradient's weights or the worker.
    fn keep_mask(
        &self,
        layer: u32,
        probability: f32,
        row_shape: &[usize],
        device: &Device,
    ) -> Result<Tensor> {
        let row: usize = row_shape.iter().product();
        let kept = 1.0 / (1.0 - probability);
        let BatchPosition { seed, epoch, batch } = self.position;
        let mut mask = Vec::with_capacity(row * self.samples.len());
        for &sample in self.samples {
            let mut stream = Key { seed, purpose: Purpose::Dropout, layer, epoch, batch, sample }.stream();
            mask.extend((0..row).map(|_| if stream.uniform() < probability { 0.0 } else { kept }));
        }
        let mut shape = vec![self.samples.len()];
        shape.extend_from_slice(row_shape);
        Tensor::from_vec(mask, shape, device)
    }

    /// Reports a batch statistic of a normalisation layer: the batch mean under the name of its `running_mean`, the
    /// unbiased batch variance under that of its `running_var`. Training reports each running statistic of the model
    /// exactly once, and none if they are frozen; the coordinator folds them into the running statistics.
    pub fn report(&self, name: impl Into<String>, values: &Tensor) {
        self.reported.borrow_mut().push((name.into(), values.detach()));
    }

    /// What was reported, in that order.
    pub fn into_reported(self) -> Vec<(String, Tensor)> {
        self.reported.into_inner()
    }
}

#[cfg(test)]
mod tests;
