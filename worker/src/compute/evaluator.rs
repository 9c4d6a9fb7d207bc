//! A model with its weights: from samples to losses and gradients. Shards that are computed side by side share one.

use candle_core::Tensor;
use lookbehind_common::contribution::{Contribution, Sums};
use lookbehind_common::job::Precision;

use super::batch::Batch;
use super::samples::{Inputs, Kinds};
use super::{ComputeError, panics};
use crate::data::Target;
use crate::models::{Mode, Model, Pass, PassPosition};
use crate::parameters::{ModelState, StateError};
use lookbehind_kernels::cross_entropy::{CrossEntropy, of_logits};
use lookbehind_kernels::{record, with_precision, without_gradients};

/// A model, its weights and what it is called in errors.
pub(super) struct Evaluator {
    pub(super) seed: u64,
    pub(super) precision: Precision,
    pub(super) kinds: Kinds,
    pub(super) classes: usize,
    pub(super) model: Box<dyn Model>,
    pub(super) state: ModelState,
}

impl Evaluator {
    /// The gradient of (sum of the shard's losses) / (samples of the batch), with sums and statistics.
    pub(super) fn gradient(&self, inputs: Inputs) -> Result<Contribution, ComputeError> {
        self.caught(|| {
            let Inputs { work, batch, samples, batch_samples } = inputs;
            let position = PassPosition { seed: self.seed, epoch: work.epoch, batch: work.batch };
            let pass = Pass::new(Mode::Train, position, &samples);
            let in_model = |source| self.in_model(samples.len(), source);
            let (logits, tape) = record(|| with_precision(self.precision, || self.logits(&batch, &pass)));
            let logits = logits?;
            let CrossEntropy { sums, gradient } =
                of_logits(&logits, &batch.targets, batch.smoothing, batch_samples).map_err(in_model)?;
            let gradient = Tensor::from_vec(gradient, logits.shape(), logits.device()).map_err(in_model)?;
            let gradients = tape.backward(logits, gradient).map_err(in_model)?;
            let gradient = self.state.gradients(&gradients);
            let gradient = gradient.map_err(|source| self.in_state(source))?;
            let share = samples.len() as f32 / batch_samples as f32;
            let statistics = self.state.statistics(&pass.into_reported(), share);
            let statistics = statistics.map_err(|source| self.in_state(source))?;
            Ok(Contribution { gradient, statistics, sums })
        })
    }

    /// Losses and correct predictions without training.
    pub(super) fn test(&self, inputs: Inputs) -> Result<Sums, ComputeError> {
        self.caught(|| {
            let Inputs { work, batch, samples, .. } = inputs;
            let position = PassPosition { seed: self.seed, epoch: work.epoch, batch: 0 };
            let pass = Pass::new(Mode::Test, position, &samples);
            let logits = without_gradients(|| with_precision(self.precision, || self.logits(&batch, &pass)))?;
            let losses = of_logits(&logits.detach(), &batch.targets, 0.0, 1);
            losses.map(|losses| losses.sums).map_err(|source| self.in_model(samples.len(), source))
        })
    }

    /// The model's output, of the shape that the data set needs.
    pub(super) fn logits(&self, batch: &Batch, pass: &Pass<'_>) -> Result<Tensor, ComputeError> {
        let samples = batch.targets.len();
        if let Some(found) =
            batch.targets.iter().map(Target::greatest_class).find(|&class| class as usize >= self.classes)
        {
            return Err(ComputeError::Target { kind: self.kinds.data.clone(), found, classes: self.classes });
        }
        let logits =
            self.model.forward(&batch.inputs, pass).map_err(|source| self.in_model(samples, source))?;
        let expected = [samples, self.classes];
        if logits.dims() == expected {
            return Ok(logits);
        }
        let problem = format!("logits of shape {:?}, expected {expected:?}", logits.dims());
        Err(self.in_model(samples, candle_core::Error::Msg(problem)))
    }

    /// A panic of the model as an error.
    pub(super) fn caught<T>(
        &self,
        compute: impl FnOnce() -> Result<T, ComputeError>,
    ) -> Result<T, ComputeError> {
        panics::catch(compute).unwrap_or_else(|panic| Err(self.kinds.panicked(panic)))
    }

    pub(super) fn in_model(&self, samples: usize, source: candle_core::Error) -> ComputeError {
        ComputeError::Model { kind: self.kinds.model.clone(), samples, source: without_places(source) }
    }

    pub(super) fn in_state(&self, source: StateError) -> ComputeError {
        ComputeError::State { kind: self.kinds.model.clone(), source: Box::new(source) }
    }
}

/// An error that is the same text on every worker: without the places in the code that it came through.
pub(crate) fn without_places(error: candle_core::Error) -> candle_core::Error {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_places(*inner),
        other => other,
    }
}
