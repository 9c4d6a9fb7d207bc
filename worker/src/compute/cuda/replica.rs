//! A copy of the model on a GPU, and what the GPU's thread is asked to do with it.
//!
//! The thread runs ahead of the GPU by a shard: while one is computed, the next one's samples are copied and its operations
//! queued.

use std::rc::Rc;
use std::sync::mpsc::Receiver;

use candle_core::CudaDevice;
use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::Sums;
use lookbehind_common::reduction::{Node, reduce_with};
use lookbehind_kernels::cuda::{self, Gpu};

use super::arenas::Weights;
use super::download::Download;
use super::step::GpuDevice;
use super::sum::{Exchange, Sum};
use super::summing::Summing;
use super::trouble::{Trouble, checked, of_device};
use crate::compute::evaluator::Evaluator;
use crate::compute::panics::Panic;
use crate::compute::samples::Inputs;
use crate::compute::{ComputeError, Phase, Stopped, Timing, Watch};

/// A GPU with the model on it, and the ways of sums from it.
pub(super) struct Replica {
    evaluator: Evaluator,
    device: GpuDevice,
    exchange: Exchange,
    download: Download,
}

/// What became of some parts of a node: a sum for each, and what was counted in each shard.
pub(super) struct Parts {
    pub(super) sums: Vec<Sum>,
    pub(super) counted: Vec<Sums>,
}

impl Replica {
    /// Takes hold of a device on this thread.
    ///
    /// # Errors
    /// When the device is lost, or has too little memory.
    pub(super) fn new(device: CudaDevice, evaluator: Evaluator) -> Result<Self, ComputeError> {
        let ordinal = device.cuda_stream().context().ordinal();
        Self::on(device, evaluator).map_err(|error| of_device(error, ordinal))
    }

    fn on(device: CudaDevice, evaluator: Evaluator) -> candle_core::Result<Self> {
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
        self.device.arenas.weights()
    }

    /// The model's initial parameters and statistics.
    pub(super) fn initial(&self) -> (Arena, Arena) {
        self.evaluator.state.initial(self.evaluator.seed)
    }

    /// The error for a panic; what the panic leaves queued is given up.
    pub(super) fn panicked(&mut self, panic: Panic) -> ComputeError {
        match self.settle() {
            Ok(()) => self.evaluator.kinds.panicked(panic),
            Err(lost) => lost,
        }
    }

    /// Waits until nothing is under way.
    pub(super) fn settle(&mut self) -> Result<(), ComputeError> {
        self.device.in_flight.clear();
        self.device.gpu.check().map_err(|failure| ComputeError::DeviceLost(failure.to_string()))
    }

    /// Overwrites the model's variables with the weights that were copied here last.
    pub(super) fn take_weights(&mut self) -> Result<(), ComputeError> {
        self.guarded(|replica| {
            replica.device.measured(Phase::Weights, |device| device.arenas.take_weights(&device.gpu))
        })
    }

    /// Computes parts of a node, shard by shard as their samples come.
    pub(super) fn parts(
        &mut self,
        parts: &[Node],
        samples: &Receiver<Inputs>,
        watch: &dyn Watch,
    ) -> Result<Parts, Stopped> {
        let mut summing = Summing::new(self, samples, watch);
        let sums = parts.iter().map(|&part| reduce_with(part, &mut summing)).collect();
        let mut counted = summing.counted();
        let sums: Result<Vec<Sum>, Stopped> = sums;
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
    ) -> Result<Vec<Sums>, Stopped> {
        let counted = self.test_all(pieces, watch);
        self.or_settled(counted)
    }

    fn test_all(&mut self, pieces: &Receiver<Inputs>, watch: &dyn Watch) -> Result<Vec<Sums>, Stopped> {
        let mut counted = Vec::new();
        for inputs in pieces {
            if watch.is_overtaken() {
                return Err(Stopped::Overtaken);
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

    /// Queues a shard; its sum will be there when the GPU comes to it.
    pub(super) fn shard(&mut self, inputs: Inputs) -> Result<Sum, ComputeError> {
        self.guarded(|replica| replica.evaluator.step(inputs, &mut replica.device))
    }

    /// The sum of siblings, the left one of which is here.
    pub(super) fn add(&mut self, left: Sum, right: Sum) -> Result<Sum, ComputeError> {
        self.guarded(|replica| {
            let Self { device, exchange, .. } = replica;
            device.measured(Phase::Sum, |device| exchange.add(left, right, &device.gpu))
        })
    }

    /// A sum's gradient and statistics, in the host's memory.
    pub(super) fn fetch(&mut self, sum: &Sum) -> Result<(Arena, Arena), ComputeError> {
        let mut gradient = self.guarded(|replica| {
            let Self { device, download, .. } = replica;
            let queued = device.measured(Phase::Gradient, |_| download.queue(&sum.0))?;
            queued.arrived()
        })?;
        let statistics = gradient.split_off(self.evaluator.state.layout().parameters());
        Ok((Arena::from(gradient), Arena::from(statistics)))
    }

    /// What the phases took since this was asked last.
    pub(super) fn timings(&mut self) -> Result<Vec<Timing>, ComputeError> {
        self.device.timeline.keep();
        self.guarded(|replica| replica.device.timeline.take())
    }

    /// The most bytes in use at once since this was asked last.
    pub(super) fn peak_memory(&self) -> u64 {
        self.device.gpu.peak_memory()
    }

    /// Waits until another shard may be queued; what was counted in the one that is done.
    pub(super) fn make_room(&mut self, watch: &dyn Watch) -> Result<Option<Sums>, ComputeError> {
        if self.device.in_flight.is_full() { self.count(watch) } else { Ok(None) }
    }

    /// What was counted in all that is queued.
    fn count_all(&mut self, watch: &dyn Watch) -> Result<Vec<Sums>, ComputeError> {
        let mut counted = Vec::new();
        while let Some(sums) = self.count(watch)? {
            counted.push(sums);
        }
        Ok(counted)
    }

    /// What was counted in the shard that was queued first.
    fn count(&mut self, watch: &dyn Watch) -> Result<Option<Sums>, ComputeError> {
        let counted = self.guarded(|replica| replica.device.in_flight.count_first())?;
        if counted.is_some() {
            watch.advance();
        }
        Ok(counted)
    }

    /// A result; where there is none, nothing stays queued.
    fn or_settled<T>(&mut self, result: Result<T, Stopped>) -> Result<T, Stopped> {
        result.or_else(|stopped| {
            self.settle()?;
            Err(stopped)
        })
    }

    /// Does something with the device; what goes wrong is told from a device that is lost.
    fn guarded<T, E: Into<Trouble>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, ComputeError> {
        let result = work(self);
        checked(result, &self.device.gpu)
    }
}
