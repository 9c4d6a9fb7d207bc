//! A replica of the model on a GPU, and the operations that the GPU's thread executes on it.
//!
//! The thread runs ahead of the GPU by one shard: while one is computed, the samples of the next are copied and its
//! operations queued.

use std::rc::Rc;
use std::sync::mpsc::Receiver;

use candle_core::CudaDevice;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::{Segment, reduce_with};
use lookbehind_kernels::cuda::{self, Gpu};

use super::download::Download;
use super::flat_buffers::Weights;
use super::step::GpuDevice;
use super::sum::{Exchange, Sum};
use super::summing::Summing;
use super::trouble::{Trouble, checked, of_device};
use crate::compute::evaluator::Evaluator;
use crate::compute::panics::Panic;
use crate::compute::samples::Inputs;
use crate::compute::{ComputeError, Phase, Stopped, Timing, Watch};

/// A GPU with the model on it, and the buffers through which sums leave it.
pub(super) struct Replica {
    evaluator: Evaluator,
    device: GpuDevice,
    exchange: Exchange,
    download: Download,
}

/// The result for some parts of a segment: a sum for each part, and the counts of each shard.
pub(super) struct Parts {
    pub(super) sums: Vec<Sum>,
    pub(super) counted: Vec<Sums>,
}

impl Replica {
    /// Sets up a device on this thread.
    ///
    /// # Errors
    /// If the device is lost, or has too little memory.
    pub(super) fn new(device: CudaDevice, evaluator: Evaluator) -> Result<Self, ComputeError> {
        let ordinal = device.cuda_stream().context().ordinal();
        Self::on(device, evaluator).map_err(|error| of_device(error, ordinal))
    }

    fn on(device: CudaDevice, evaluator: Evaluator) -> candle_core::Result<Self> {
        let gpu = Rc::new(Gpu::new(device)?);
        cuda::enter(Rc::clone(&gpu));
        let device = GpuDevice::new(gpu, &evaluator.tensors)?;
        Ok(Self { evaluator, device, exchange: Exchange::default(), download: Download::default() })
    }

    /// Releases the device, at the end of the thread.
    pub(super) fn leave(self) {
        cuda::leave();
        if self.device.gpu.check().is_err() {
            // Nothing can be freed on a lost device, and the bindings of the libraries panic when that fails: leak it.
            std::mem::forget(self);
            return;
        }
        let gpu = Rc::clone(&self.device.gpu);
        drop(self);
        gpu.trim_memory();
    }

    /// The memory that receives weights.
    pub(super) fn weights(&self) -> Weights {
        self.device.flat_buffers.weights()
    }

    /// The model's initial parameters and running statistics.
    pub(super) fn initial(&self) -> ModelState<FlatBuffer> {
        self.evaluator.tensors.initial(self.evaluator.seed)
    }

    /// The error for a panic; what the panic left queued is discarded.
    pub(super) fn panicked(&mut self, panic: Panic) -> ComputeError {
        match self.settle() {
            Ok(()) => self.evaluator.kinds.panicked(panic),
            Err(lost) => lost,
        }
    }

    /// Discards what is in flight and waits until the GPU is idle.
    pub(super) fn settle(&mut self) -> Result<(), ComputeError> {
        self.device.in_flight.clear();
        self.device.gpu.check().map_err(|failure| ComputeError::DeviceLost(failure.to_string()))
    }

    /// Overwrites the model's variables with the weights that were received last.
    pub(super) fn take_weights(&mut self) -> Result<(), ComputeError> {
        self.guarded(|replica| {
            replica.device.measured(Phase::Weights, |device| device.flat_buffers.take_weights(&device.gpu))
        })
    }

    /// Computes parts of a segment, shard by shard as their samples arrive, gradients in `format`.
    pub(super) fn parts(
        &mut self,
        parts: &[Segment],
        format: ExchangeFormat,
        samples: &Receiver<Inputs>,
        watch: &dyn Watch,
    ) -> Result<Parts, Stopped> {
        let mut summing = Summing::new(self, format, samples, watch);
        let sums = parts.iter().map(|&part| reduce_with(part, &mut summing)).collect();
        let mut counted = summing.counted();
        let sums: Result<Vec<Sum>, Stopped> = sums;
        let sums = sums.and_then(|sums| Ok((sums, self.count_all(watch)?)));
        let (sums, last) = self.or_settled(sums)?;
        counted.extend(last);
        Ok(Parts { sums, counted })
    }

    /// Counts losses and correct predictions in pieces of the test split, as they arrive.
    pub(super) fn test(
        &mut self,
        pieces: &Receiver<Inputs>,
        watch: &dyn Watch,
    ) -> Result<Vec<Sums>, Stopped> {
        let counted = self.test_all(pieces, watch);
        self.or_settled(counted)
    }

    fn test_all(&mut self, pieces: &Receiver<Inputs>, watch: &dyn Watch) -> Result<Vec<Sums>, Stopped> {
        let mut counted = Vec::new();
        for inputs in pieces {
            if watch.is_superseded() {
                return Err(Stopped::Superseded);
            }
            counted.extend(self.make_room(watch)?);
            self.guarded(|replica| {
                let losses = replica.evaluator.test(inputs, &mut replica.device)?;
                replica.device.queued(losses).map_err(Trouble::from)
            })?;
        }
        counted.extend(self.count_all(watch)?);
        Ok(counted)
    }

    /// Queues a shard. The returned sum is valid in the order of the stream: the GPU may not have computed it yet.
    pub(super) fn shard(&mut self, inputs: Inputs, format: ExchangeFormat) -> Result<Sum, ComputeError> {
        let sum = self.guarded(|replica| replica.evaluator.step(inputs, &mut replica.device))?;
        self.rounded(sum, format)
    }

    /// The sum of two siblings, the left one of which is on this GPU, gradients in `format`.
    pub(super) fn add(&mut self, left: Sum, right: Sum, format: ExchangeFormat) -> Result<Sum, ComputeError> {
        let sum = self.guarded(|replica| {
            let Self { device, exchange, .. } = replica;
            device.measured(Phase::Sum, |device| exchange.add(left, right, &device.gpu))
        })?;
        self.rounded(sum, format)
    }

    /// A sum whose gradient is rounded. A value that becomes infinite is found in the sum of the whole batch.
    fn rounded(&mut self, mut sum: Sum, format: ExchangeFormat) -> Result<Sum, ComputeError> {
        let gradient = self.evaluator.tensors.layout().parameters();
        match format {
            ExchangeFormat::F32 => Ok(sum),
            ExchangeFormat::Bf16 => self.guarded(|replica| {
                replica.device.measured(Phase::Sum, |device| {
                    cuda::round_to_bf16(&device.gpu, &mut sum.0, gradient).map(|()| sum)
                })
            }),
        }
    }

    /// A sum's gradient and batch statistics, in the host's memory. On the device, sums have places for frozen tensors.
    pub(super) fn fetch(&mut self, sum: &Sum) -> Result<(FlatBuffer, FlatBuffer), ComputeError> {
        let mut gradient = self.guarded(|replica| {
            let Self { device, download, .. } = replica;
            let queued = device.measured(Phase::Gradient, |_| download.queue(&sum.0))?;
            queued.arrived()
        })?;
        let statistics = gradient.split_off(self.evaluator.tensors.layout().parameters());
        Ok((self.evaluator.tensors.with_gradient(gradient), FlatBuffer::from(statistics)))
    }

    /// Time of each phase since the previous call.
    pub(super) fn timings(&mut self) -> Result<Vec<Timing>, ComputeError> {
        self.device.timeline.keep();
        self.guarded(|replica| replica.device.timeline.take())
    }

    /// The most bytes in use at once since the previous call; `None` if the driver does not report it.
    pub(super) fn peak_memory(&mut self) -> Result<Option<u64>, ComputeError> {
        let peak = self.device.gpu.peak_memory();
        // A lost device reports nothing either.
        self.settle().map(|()| peak)
    }

    /// Waits until another shard may be queued; returns the counts of the shard that finished, if it had to wait.
    pub(super) fn make_room(&mut self, watch: &dyn Watch) -> Result<Option<Sums>, ComputeError> {
        if self.device.in_flight.is_full() { self.count(watch) } else { Ok(None) }
    }

    /// The counts of all that is queued.
    fn count_all(&mut self, watch: &dyn Watch) -> Result<Vec<Sums>, ComputeError> {
        let mut counted = Vec::new();
        while let Some(sums) = self.count(watch)? {
            counted.push(sums);
        }
        Ok(counted)
    }

    /// The counts of the shard that was queued first.
    fn count(&mut self, watch: &dyn Watch) -> Result<Option<Sums>, ComputeError> {
        let counted = self.guarded(|replica| replica.device.in_flight.count_first())?;
        if counted.is_some() {
            watch.advance();
        }
        Ok(counted)
    }

    /// Passes a result on; after an error nothing stays queued.
    fn or_settled<T>(&mut self, result: Result<T, Stopped>) -> Result<T, Stopped> {
        result.or_else(|stopped| {
            self.settle()?;
            Err(stopped)
        })
    }

    /// Runs an operation on the device; an error is distinguished from the loss of the device.
    fn guarded<T, E: Into<Trouble>>(
        &mut self,
        request: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, ComputeError> {
        let result = request(self);
        checked(result, &self.device.gpu)
    }
}
