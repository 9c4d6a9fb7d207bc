//! A GPU as a device of gradients and tests: everything is queued, and nothing waited for.

use std::rc::Rc;

use candle_core::{Error, Result, Tensor};
use cudarc::driver::CudaSlice;
use lookbehind_common::layout::TensorKind;

use super::arenas::Arenas;
use super::in_flight::InFlight;
use super::sum::Sum;
use super::timeline::Timeline;
use crate::compute::Phase;
use crate::compute::batch::Batch;
use crate::compute::evaluator::{Computed, StepDevice, StepError};
use crate::parameters::ModelState;
use lookbehind_kernels::cuda::{self, Gpu, Losses, Staging, TargetStaging, Targets};
use lookbehind_kernels::with_numbers;

/// What a step needs of a GPU, beside the model that is on it.
pub(super) struct GpuDevice {
    pub(super) gpu: Rc<Gpu>,
    pub(super) arenas: Arenas,
    inputs: Staging<f32>,
    targets: TargetStaging,
    /// Of shards, or samples of the test split, that the GPU computes.
    pub(super) in_flight: InFlight,
    pub(super) timeline: Timeline,
}

/// Losses of samples, and whether each was recognised rightly, on the device.
pub(super) type OnDevice = (CudaSlice<f32>, CudaSlice<u32>);

impl GpuDevice {
    /// A GPU that the model's variables are on.
    pub(super) fn new(gpu: Rc<Gpu>, state: &ModelState) -> Result<Self> {
        Ok(Self {
            arenas: Arenas::new(state, &gpu)?,
            inputs: Staging::new(),
            targets: TargetStaging::new(),
            in_flight: InFlight::default(),
            timeline: Timeline::default(),
            gpu,
        })
    }

    /// Queues what a phase consists of, and has the GPU take the time.
    pub(super) fn measured<T, E: From<Error>>(
        &mut self,
        phase: Phase,
        work: impl FnOnce(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let begun = self.timeline.begin(phase, &self.gpu)?;
        let done = work(self)?;
        self.timeline.end(phase, begun, &self.gpu)?;
        Ok(done)
    }

    /// Notes that samples are queued, whose losses will be there when all that was queued for them is done.
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
            let inputs = with_numbers([&samples], |[numbers]| device.inputs.upload(numbers, &device.gpu))??;
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
        state: &ModelState,
        computed: Computed<OnDevice>,
    ) -> std::result::Result<Sum, StepError> {
        let Computed { losses, gradients, reported, share } = computed;
        let in_order = state.reported_in_order(&reported)?;
        let statistics = in_order.into_iter().map(|(_, values)| Some(values.clone())).collect();
        let parameters = state.variables().filter(|(entry, _)| entry.spec.kind == TensorKind::Parameter);
        let gradients = parameters.map(|(_, variable)| gradients.get(variable).cloned()).collect();
        let sum = self.timed(Phase::Sum, |device| {
            let (gradients, statistics) = (contiguous(gradients)?, contiguous(statistics)?);
            Ok(device.arenas.gather(gradients, statistics, share, &device.gpu)?)
        })?;
        self.queued(losses)?;
        Ok(sum)
    }

    fn timed<T>(
        &mut self,
        phase: Phase,
        work: impl FnOnce(&mut Self) -> std::result::Result<T, StepError>,
    ) -> std::result::Result<T, StepError> {
        self.measured(phase, work)
    }
}

/// The tensors as the kernels take them.
fn contiguous(tensors: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
    tensors.into_iter().map(|tensor| tensor.map(|tensor| tensor.contiguous()).transpose()).collect()
}
