//! The CPU as a device of gradients and tests.

use candle_core::Tensor;
use lookbehind_common::partial::{Partial, Sums};

use crate::compute::batch::Batch;
use crate::compute::evaluator::{Computed, StepDevice, StepError};
use crate::data::Target;
use crate::parameters::ModelTensors;
use lookbehind_kernels::cross_entropy::{CrossEntropy, of_logits};

/// The processor and its memory: every result is available immediately.
pub(super) struct Host;

impl StepDevice for Host {
    type Targets = Vec<Target>;
    type Losses = Sums;
    type Partial = Partial;

    fn upload(&mut self, batch: Batch) -> Result<(Tensor, Vec<Target>), StepError> {
        Ok((batch.inputs, batch.targets))
    }

    fn loss(
        &mut self,
        logits: &Tensor,
        targets: &Vec<Target>,
        smoothing: f32,
        denominator: u64,
    ) -> Result<(Sums, Tensor), StepError> {
        let CrossEntropy { sums, gradient } = of_logits(logits, targets, smoothing, denominator)?;
        Ok((sums, Tensor::from_vec(gradient, logits.shape(), logits.device())?))
    }

    fn gather(&mut self, tensors: &ModelTensors, computed: Computed<Sums>) -> Result<Partial, StepError> {
        let Computed { losses, gradients, reported, share } = computed;
        let gradient = tensors.gradients(&gradients)?;
        let statistics = tensors.statistics(&reported, share)?;
        Ok(Partial { gradient, statistics, sums: losses })
    }
}
