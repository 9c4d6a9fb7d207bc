//! A model with its weights: defines what a gradient is and what a test is, on whatever device ([`StepDevice`]) they
//! are computed. Shards that are computed in parallel share one.

use candle_core::Tensor;
use lookbehind_common::job::Precision;

use super::batch::Batch;
use super::samples::{Inputs, Kinds};
use super::{ComputeError, Phase, panics};
use crate::data::Target;
use crate::models::{BatchPosition, ForwardContext, Mode, Model};
use crate::parameters::{ModelTensors, StateError};
use crate::places::without_places;
use lookbehind_kernels::{Gradients, record, with_precision, without_gradients};

/// A model, its weights and its name in errors.
pub(super) struct Evaluator {
    pub(super) seed: u64,
    pub(super) precision: Precision,
    /// Whether training normalises with the running statistics.
    pub(super) frozen_statistics: bool,
    pub(super) kinds: Kinds,
    pub(super) classes: usize,
    pub(super) model: Box<dyn Model>,
    pub(super) tensors: ModelTensors,
}

/// The device's share in a gradient or a test. Everything else is the same on every device, and is in [`Evaluator`].
pub(super) trait StepDevice {
    /// The targets of samples, where the device needs them.
    type Targets;
    /// Losses and correct predictions, where the device leaves them.
    type Losses;
    /// A shard's partial, where the device leaves it.
    type Partial;

    /// The samples' inputs as the model's tensor, and their targets.
    fn upload(&mut self, batch: Batch) -> Result<(Tensor, Self::Targets), StepError>;

    /// Losses of logits [n, classes], and the gradient with respect to the logits of their sum divided by
    /// `denominator`.
    fn loss(
        &mut self,
        logits: &Tensor,
        targets: &Self::Targets,
        smoothing: f32,
        denominator: u64,
    ) -> Result<(Self::Losses, Tensor), StepError>;

    /// A shard's partial, in the layout's order.
    fn gather(
        &mut self,
        tensors: &ModelTensors,
        computed: Computed<Self::Losses>,
    ) -> Result<Self::Partial, StepError>;

    /// Runs the operations of a phase; devices with a clock of their own measure it.
    fn timed<T>(
        &mut self,
        _phase: Phase,
        request: impl FnOnce(&mut Self) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        request(self)
    }
}

/// The results of a shard's forward and backward pass.
pub(super) struct Computed<L> {
    pub(super) losses: L,
    /// Gradients of the variables that the loss depends on.
    pub(super) gradients: Gradients,
    /// Batch statistics, under the names of the running statistics.
    pub(super) reported: Vec<(String, Tensor)>,
    /// The shard's share of the batch, by which its batch statistics are weighted.
    pub(super) share: f32,
}

/// Why a device could not do its part; the evaluator adds the model and the number of samples.
pub(super) enum StepError {
    Tensor(candle_core::Error),
    State(StateError),
    Compute(ComputeError),
}

impl From<candle_core::Error> for StepError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error)
    }
}

impl From<StateError> for StepError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<ComputeError> for StepError {
    fn from(error: ComputeError) -> Self {
        Self::Compute(error)
    }
}

impl Evaluator {
    /// The gradient of (sum of the shard's losses) / (samples of the batch) at the weights that the model holds, with
    /// losses and batch statistics.
    pub(super) fn step<D: StepDevice>(
        &self,
        inputs: Inputs,
        device: &mut D,
    ) -> Result<D::Partial, ComputeError> {
        let samples = inputs.samples.len();
        self.stepped(inputs, device).map_err(|error| self.in_step(samples, error))
    }

    fn stepped<D: StepDevice>(&self, inputs: Inputs, device: &mut D) -> Result<D::Partial, StepError> {
        let Inputs { request, batch, samples, batch_samples } = inputs;
        self.check_targets(&batch)?;
        let smoothing = batch.smoothing;
        let (x, targets) = device.upload(batch)?;
        let position = BatchPosition { seed: self.seed, epoch: request.epoch, batch: request.batch };
        let context = ForwardContext::new(Mode::Train, position, &samples);
        let context = context.with_frozen_statistics(self.frozen_statistics);
        let (logits, tape) = device.timed(Phase::Forward, |_| {
            let (logits, tape) = record(|| with_precision(self.precision, || self.logits(&x, &context)));
            Ok((logits?, tape))
        })?;
        let (losses, gradient) =
            device.timed(Phase::Loss, |device| device.loss(&logits, &targets, smoothing, batch_samples))?;
        let gradients = device.timed(Phase::Backward, |_| Ok(tape.backward(logits, gradient)?))?;
        let share = samples.len() as f32 / batch_samples as f32;
        device.gather(&self.tensors, Computed { losses, gradients, reported: context.into_reported(), share })
    }

    /// Losses and correct predictions in test mode: the sum of the losses, without label smoothing.
    pub(super) fn test<D: StepDevice>(
        &self,
        inputs: Inputs,
        device: &mut D,
    ) -> Result<D::Losses, ComputeError> {
        let samples = inputs.samples.len();
        self.tested(inputs, device).map_err(|error| self.in_step(samples, error))
    }

    fn tested<D: StepDevice>(&self, inputs: Inputs, device: &mut D) -> Result<D::Losses, StepError> {
        let Inputs { request, batch, samples, .. } = inputs;
        self.check_targets(&batch)?;
        let (x, targets) = device.upload(batch)?;
        let position = BatchPosition { seed: self.seed, epoch: request.epoch, batch: 0 };
        let context = ForwardContext::new(Mode::Test, position, &samples);
        let logits = without_gradients(|| with_precision(self.precision, || self.logits(&x, &context)))?;
        Ok(device.loss(&logits.detach(), &targets, 0.0, 1)?.0)
    }

    /// Checked here because a class that the data set does not have would be read beyond the row of logits.
    pub(super) fn check_targets(&self, batch: &Batch) -> Result<(), ComputeError> {
        let mut greatest = batch.targets.iter().map(Target::greatest_class);
        match greatest.find(|&class| class as usize >= self.classes) {
            None => Ok(()),
            Some(found) => {
                Err(ComputeError::Target { kind: self.kinds.data.clone(), found, classes: self.classes })
            }
        }
    }

    /// The model's output for inputs [n, ...], checked for the shape that the data set needs.
    pub(super) fn logits(
        &self,
        inputs: &Tensor,
        context: &ForwardContext<'_>,
    ) -> Result<Tensor, ComputeError> {
        let samples = context.samples();
        let logits = self.model.forward(inputs, context).map_err(|source| self.in_model(samples, source))?;
        let expected = [samples, self.classes];
        if logits.dims() == expected {
            return Ok(logits);
        }
        let problem = format!("logits of shape {:?}, expected {expected:?}", logits.dims());
        Err(self.in_model(samples, candle_core::Error::Msg(problem)))
    }

    /// Turns a panic of the model into an error.
    pub(super) fn caught<T>(
        &self,
        compute: impl FnOnce() -> Result<T, ComputeError>,
    ) -> Result<T, ComputeError> {
        panics::catch(compute).unwrap_or_else(|panic| Err(self.kinds.panicked(panic)))
    }

    fn in_step(&self, samples: usize, error: StepError) -> ComputeError {
        match error {
            StepError::Tensor(source) => self.in_model(samples, source),
            StepError::State(source) => self.in_state(source),
            StepError::Compute(error) => error,
        }
    }

    pub(super) fn in_model(&self, samples: usize, source: candle_core::Error) -> ComputeError {
        ComputeError::Model { kind: self.kinds.model.clone(), samples, source: without_places(source) }
    }

    pub(super) fn in_state(&self, source: StateError) -> ComputeError {
        ComputeError::State { kind: self.kinds.model.clone(), source: Box::new(source) }
    }
}
