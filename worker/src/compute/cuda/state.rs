//! What a GPU's thread has, and does: a copy of the model, and shards one after the other.
//!
//! The thread runs ahead of the GPU by a shard: while one is computed, the next one's samples are copied and its operations
//! queued.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use candle_core::{CudaDevice, Result};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::{Reduction, Segment, reduce_with};

use super::download::Download;
use super::flat_buffers::Weights;
use super::step::GpuDevice;
use super::sum::{Exchange, Sum};
use super::trouble::{Trouble, of_device};
use crate::compute::batch::Batch;
use crate::compute::evaluator::Evaluator;
use crate::compute::panics::Panic;
use crate::compute::samples::Inputs;
use crate::compute::{ComputeError, Phase, Stopped, Timing, Watch};
use lookbehind_kernels::cuda::Gpu;

/// Shards that may be queued on the GPU at once.
const IN_FLIGHT: usize = 2;

/// What the thread has.
pub(super) struct State {
    evaluator: Evaluator,
    device: GpuDevice,
    exchange: Exchange,
    download: Download,
}

/// What became of some parts of a segment: a sum for each, and what was counted in each shard.
pub(super) struct Parts {
    pub(super) sums: Vec<Sum>,
    pub(super) counted: Vec<Sums>,
}

impl State {
    /// Takes hold of a device on this thread.
    ///
    /// # Errors
    /// When the device is of no use, or has too little memory.
    pub(super) fn new(device: CudaDevice, evaluator: Evaluator) -> std::result::Result<Self, ComputeError> {
        let ordinal = device.cuda_stream().context().ordinal();
        Self::on(device, evaluator).map_err(|error| of_device(error, ordinal))
    }

    fn on(device: CudaDevice, evaluator: Evaluator) -> Result<Self> {
        let gpu = Rc::new(Gpu::new(device)?);
        cuda::enter(Rc::clone(&gpu));
        let device = GpuDevice::new(gpu, &evaluator.state)?;
        Ok(Self { evaluator, device, exchange: Exchange::default(), download: Download::default() })
    }

    /// Lets go of the device, at the end of the thread.
    pub(super) fn leave(self) {
        cuda::leave();
        if self.device.gpu.check().is_err() {
            // A device that is lost takes nothing back, and the libraries' bindings panic where it does not.
            std::mem::forget(self);
            return;
        }
        let gpu = Rc::clone(&self.device.gpu);
        drop(self);
        gpu.trim_memory();
    }

    /// Where weights are copied to.
    pub(super) fn weights(&self) -> Weights {
        self.device.flat_buffers.weights()
    }

    /// The model's initial parameters and statistics.
    pub(super) fn initial(&self) -> (FlatBuffer, FlatBuffer) {
        self.evaluator.state.initial(self.evaluator.seed)
    }

    /// What a panic leaves behind is given up.
    pub(super) fn panicked(&mut self, panic: Panic) -> ComputeError {
        match self.settle() {
            Ok(()) => self.evaluator.kinds.panicked(panic),
            Err(lost) => lost,
        }
    }

    /// Waits until nothing is under way.
    pub(super) fn settle(&mut self) -> std::result::Result<(), ComputeError> {
        self.device.in_flight.clear();
        self.device.gpu.check().map_err(|failure| ComputeError::DeviceLost(failure.to_string()))
    }

    /// Overwrites the model's variables with the weights that were copied here last.
    pub(super) fn take_weights(&mut self) -> std::result::Result<(), ComputeError> {
        self.guarded(|state| {
            let begun = state.device.timeline.begin(state.device.gpu.stream())?;
            state.device.flat_buffers.take_weights(&state.device.gpu)?;
            state.device.timeline.end(Phase::Weights, begun, state.device.gpu.stream())
        })
    }

    /// Computes parts of a segment, shard by shard as their samples come.
    pub(super) fn parts(
        &mut self,
        parts: &[Segment],
        samples: &Receiver<Inputs>,
        watch: &dyn Watch,
    ) -> std::result::Result<Parts, Stopped> {
        let mut summing = Summing { state: self, samples, watch, counted: Vec::new() };
        let sums = parts.iter().map(|&part| reduce_with(part, &mut summing)).collect();
        let mut counted = summing.counted;
        let sums: std::result::Result<Vec<Sum>, Stopped> = sums;
        let sums = sums.and_then(|sums| Ok((sums, self.count_all(watch)?)));
        let (sums, last) = self.or_settled(sums)?;
        counted.extend(last);
        Ok(Parts { sums, counted })
    }

    /// Counts losses and right predictions in pieces of the test split, as they come.
    pub(super) fn test(
        &mut self,
        pieces: &Receiver<Inputs>,
        watch: &dyn Watch,
    ) -> std::result::Result<Vec<Sums>, Stopped> {
        let counted = self.test_all(pieces, watch);
        self.or_settled(counted)
    }

    fn test_all(
        &mut self,
        pieces: &Receiver<Inputs>,
        watch: &dyn Watch,
    ) -> std::result::Result<Vec<Sums>, Stopped> {
        let mut counted = Vec::new();
        for inputs in pieces {
            if watch.is_superseded() {
                return Err(Stopped::Superseded);
            }
            counted.extend(self.make_room(watch)?);
            self.evaluate(inputs)?;
        }
        counted.extend(self.count_all(watch)?);
        Ok(counted)
    }

    /// The sum of siblings, the left one of which is here.
    pub(super) fn add(&mut self, left: Sum, right: Sum) -> std::result::Result<Sum, ComputeError> {
        self.guarded(|state| state.added(left, right))
    }

    fn added(&mut self, left: Sum, right: Sum) -> Result<Sum> {
        let begun = self.device.timeline.begin(self.device.gpu.stream())?;
        let sum = self.exchange.add(left, right, &self.device.gpu)?;
        self.device.timeline.end(Phase::Sum, begun, self.device.gpu.stream())?;
        Ok(sum)
    }

    /// A sum's gradient and statistics, in the host's memory.
    pub(super) fn fetch(&mut self, sum: &Sum) -> std::result::Result<(FlatBuffer, FlatBuffer), ComputeError> {
        let mut gradient = self.guarded(|state| {
            let stream = Arc::clone(state.device.gpu.stream());
            let begun = state.device.timeline.begin(&stream)?;
            let queued = state.download.queue(&sum.0)?;
            state.device.timeline.end(Phase::Gradient, begun, &stream)?;
            queued.arrived()
        })?;
        let statistics = gradient.split_off(self.evaluator.state.layout().parameters());
        Ok((FlatBuffer::from(gradient), FlatBuffer::from(statistics)))
    }

    /// What the phases took since this was asked last.
    pub(super) fn timings(&mut self) -> std::result::Result<Vec<Timing>, ComputeError> {
        self.device.timeline.keep();
        self.guarded(|state| state.device.timeline.take())
    }

    /// The most bytes in use at once since this was asked last.
    pub(super) fn peak_memory(&self) -> u64 {
        self.device.gpu.peak_memory()
    }

    /// Queues a shard; its sum will be there when the GPU comes to it.
    fn shard(&mut self, inputs: Inputs) -> std::result::Result<Sum, ComputeError> {
        self.guarded(|state| state.evaluator.step(inputs, &mut state.device))
    }

    /// Queues some samples of the test split.
    fn evaluate(&mut self, inputs: Inputs) -> std::result::Result<(), ComputeError> {
        self.guarded(|state| {
            let losses = state.evaluator.test(inputs, &mut state.device)?;
            state.device.queued(losses).map_err(Trouble::from)
        })
    }

    /// Waits until fewer shards are queued than may be; what was counted in the one that is done.
    fn make_room(&mut self, watch: &dyn Watch) -> std::result::Result<Option<Sums>, ComputeError> {
        if self.device.in_flight.len() < IN_FLIGHT { Ok(None) } else { self.count(watch) }
    }

    /// What was counted in all that is queued.
    fn count_all(&mut self, watch: &dyn Watch) -> std::result::Result<Vec<Sums>, ComputeError> {
        let mut counted = Vec::new();
        while let Some(sums) = self.count(watch)? {
            counted.push(sums);
        }
        Ok(counted)
    }

    /// What was counted in the shard that was queued first.
    fn count(&mut self, watch: &dyn Watch) -> std::result::Result<Option<Sums>, ComputeError> {
        let Some(results) = self.device.in_flight.pop_front() else { return Ok(None) };
        let (losses, correct) = self.guarded(|_| results.fetch())?;
        watch.advance();
        Ok(Some(counted(&losses, &correct)))
    }

    /// A result; where there is none, nothing stays queued.
    fn or_settled<T>(&mut self, result: std::result::Result<T, Stopped>) -> std::result::Result<T, Stopped> {
        result.or_else(|stopped| {
            self.settle()?;
            Err(stopped)
        })
    }

    /// Does something with the device; what goes wrong is told from a device that is lost.
    fn guarded<T, E: Into<Trouble>>(
        &mut self,
        request: impl FnOnce(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, ComputeError> {
        request(self).map_err(|error| match (error.into(), self.device.gpu.check()) {
            (_, Err(failure)) => ComputeError::DeviceLost(failure.to_string()),
            (trouble, Ok(())) => {
                // Libraries take memory beside the pool: after a failure they find what nobody uses.
                self.device.gpu.trim_memory();
                trouble.on(self.device.gpu.stream().context().ordinal())
            }
        })
    }
}

/// In the samples' order.
fn counted(losses: &[f32], correct: &[u32]) -> Sums {
    Sums {
        loss: losses.iter().fold(0.0, |sum, &loss| sum + f64::from(loss)),
        correct: correct.iter().map(|&correct| u64::from(correct)).sum(),
        samples: losses.len() as u64,
    }
}

/// Sums shards as their samples come.
struct Summing<'a> {
    state: &'a mut State,
    samples: &'a Receiver<Inputs>,
    watch: &'a dyn Watch,
    counted: Vec<Sums>,
}

impl Reduction for Summing<'_> {
    type Sum = Sum;
    type Error = Stopped;

    fn part(&mut self, segment: Segment) -> std::result::Result<Option<Sum>, Stopped> {
        if segment.len() > 1 {
            return Ok(None);
        }
        if self.watch.is_superseded() {
            return Err(Stopped::Superseded);
        }
        self.counted.extend(self.state.make_room(self.watch)?);
        // Whoever sends them has stopped, and says why.
        let inputs = self.samples.recv().map_err(|_| Stopped::Superseded)?;
        Ok(Some(self.state.shard(inputs)?))
    }

    fn add(&mut self, left: Sum, right: Sum) -> std::result::Result<Sum, Stopped> {
        Ok(self.state.guarded(|state| state.added(left, right))?)
    }
}
