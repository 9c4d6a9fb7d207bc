//! A GPU as a device of gradients and tests: everything is queued, and nothing is waited for.

use std::rc::Rc;

use candle_core::{Error, Result, Tensor};
use cudarc::driver::CudaSlice;
use lookbehind_common::layout::TensorKind;

use super::flat_buffers::FlatBuffers;
use super::in_flight::InFlight;
use super::sum::Sum;
use super::timeline::Timeline;
use crate::compute::Phase;
use crate::compute::batch::Batch;
use crate::compute::evaluator::{Computed, StepDevice, StepError};
use crate::parameters::ModelTensors;
use lookbehind_kernels::cuda::{self, Gpu, Losses, Staging, TargetStaging, Targets};
use lookbehind_kernels::with_elements;

/// What a step needs of a GPU, in addition to the model on it.
pub(super) struct GpuDevice {
    pub(super) gpu: Rc<Gpu>,
    pub(super) flat_buffers: FlatBuffers,
    inputs: Staging<f32>,
    targets: TargetStaging,
    /// Shards, or samples of the test split, that the GPU computes.
    pub(super) in_flight: InFlight,
    pub(super) timeline: Timeline,
}

/// Losses of samples, and whether each was predicted correctly, on the device.
pub(super) type OnDevice = (CudaSlice<f32>, CudaSlice<u32>);

impl GpuDevice {
    /// A GPU on which the variables of the model are.
    pub(super) fn new(gpu: Rc<Gpu>, tensors: &ModelTensors) -> Result<Self> {
        Ok(Self {
            flat_buffers: FlatBuffers::new(tensors, &gpu)?,
            inputs: Staging::new(),
            targets: TargetStaging::new(),
            in_flight: InFlight::default(),
            timeline: Timeline::default(),
            gpu,
        })
    }

    /// Queues the operations of a phase, and has the GPU measure their time.
    pub(super) fn measured<T, E: From<Error>>(
        &mut self,
        phase: Phase,
        request: impl FnOnce(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let begun = self.timeline.begin(phase, &self.gpu)?;
        let done = request(self)?;
        self.timeline.end(phase, begun, &self.gpu)?;
        Ok(done)
    }

    /// Records that samples are queued; their losses are available when everything queued for them is done.
    pub(super) fn queued(&mut self, (losses, correct): OnDevice) -> Result<()> {
        self.in_flight.push(self.gpu.results(losses, correct)?);
        Ok(())
    }
}

impl StepDevice for GpuDevice {
    type Targets = Targets;
    type Losses = OnDevice;
    type Partial = Sum;

    fn upload(&mut self, batch: Batch) -> std::result::Result<(Tensor, Targets), StepError> {
        let (inputs, targets) = self.measured(Phase::Samples, |device| {
            let samples = batch.inputs.contiguous()?;
            let inputs =
                with_elements([&samples], |[elements]| device.inputs.upload(elements, &device.gpu))??;
            Ok::<_, Error>((inputs, device.targets.upload(&batch.targets, &device.gpu)?))
        })?;
        Ok((cuda::tensor(inputs, batch.inputs.shape(), &self.gpu), targets))
    }

    fn loss(
        &mut self,
        logits: &Tensor,
        targets: &Targets,
        smoothing: f32,
        denominator: u64,
    ) -> std::result::Result<(OnDevice, Tensor), StepError> {
        let Losses { losses, correct, gradient } =
            cuda::cross_entropy(logits, targets, smoothing, denominator)?;
        Ok(((losses, correct), gradient))
    }

    fn gather(
        &mut self,
        tensors: &ModelTensors,
        computed: Computed<OnDevice>,
    ) -> std::result::Result<Sum, StepError> {
        let Computed { losses, gradients, reported, share } = computed;
        let in_order = tensors.reported_in_order(&reported)?;
        let statistics = in_order.into_iter().map(|(_, values)| Some(values.clone())).collect();
        let parameters = tensors.variables().filter(|(entry, _)| entry.spec.kind == TensorKind::Parameter);
        let gradients = parameters.map(|(_, variable)| gradients.get(variable).cloned()).collect();
        let sum = self.timed(Phase::Sum, |device| {
            let (gradients, statistics) = (contiguous(gradients)?, contiguous(statistics)?);
            Ok(device.flat_buffers.gather(gradients, statistics, share, &device.gpu)?)
        })?;
        self.queued(losses)?;
        Ok(sum)
    }

    fn timed<T>(
        &mut self,
        phase: Phase,
        request: impl FnOnce(&mut Self) -> std::result::Result<T, StepError>,
    ) -> std::result::Result<T, StepError> {
        self.measured(phase, request)
    }
}

/// The tensors in contiguous memory, as the kernels require.
fn contiguous(tensors: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
    tensors.into_iter().map(|tensor| tensor.map(|tensor| tensor.contiguous()).transpose()).collect()
}
