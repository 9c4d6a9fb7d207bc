//! What a GPU's thread has, and does: a copy of the model, and shards one after the other.
//!
//! The thread runs ahead of the GPU by a shard: while one is computed, the next one's samples are copied and its operations
//! queued.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use candle_core::{CudaDevice, Result, Tensor};
use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::Sums;
use lookbehind_common::layout::TensorKind;
use lookbehind_common::reduction::{Node, Reduction, reduce_with};

use super::arenas::{Arenas, Weights};
use super::download::Download;
use super::sum::{Exchange, Sum};
use super::timeline::Timeline;
use super::trouble::{Trouble, of_device};
use crate::compute::batch::Batch;
use crate::compute::evaluator::Evaluator;
use crate::compute::panics::Panic;
use crate::compute::samples::Inputs;
use crate::compute::{ComputeError, Phase, Stopped, Timing, Watch};
use crate::models::{Mode, Pass, PassPosition};
use lookbehind_kernels::cuda::{self, Gpu, Results, Staging, TargetStaging, Targets};
use lookbehind_kernels::{record, with_numbers, with_precision, without_gradients};

/// Shards that may be queued on the GPU at once.
const IN_FLIGHT: usize = 2;

/// What the thread has.
pub(super) struct State {
    gpu: Rc<Gpu>,
    evaluator: Evaluator,
    arenas: Arenas,
    inputs: Staging<f32>,
    targets: TargetStaging,
    /// Of shards, or samples of the test split, that the GPU computes.
    in_flight: VecDeque<Results>,
    exchange: Exchange,
    download: Download,
    timeline: Timeline,
}

/// What became of some parts of a node: a sum for each, and what was counted in each shard.
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
        Ok(Self {
            arenas: Arenas::new(&evaluator.state, &gpu)?,
            evaluator,
            inputs: Staging::new(),
            targets: TargetStaging::new(),
            in_flight: VecDeque::new(),
            exchange: Exchange::default(),
            download: Download::default(),
            timeline: Timeline::default(),
            gpu,
        })
    }

    /// Lets go of the device, at the end of the thread.
    pub(super) fn leave(self) {
        cuda::leave();
        if self.gpu.check().is_err() {
            // A device that is lost takes nothing back, and the libraries' bindings panic where it does not.
            std::mem::forget(self);
            return;
        }
        let gpu = Rc::clone(&self.gpu);
        drop(self);
        gpu.trim_memory();
    }

    /// Where weights are copied to.
    pub(super) fn weights(&self) -> Weights {
        self.arenas.weights()
    }

    /// The model's initial parameters and statistics.
    pub(super) fn initial(&self) -> (Arena, Arena) {
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
        self.in_flight.clear();
        self.gpu.check().map_err(|failure| ComputeError::DeviceLost(failure.to_string()))
    }

    /// Overwrites the model's variables with the weights that were copied here last.
    pub(super) fn take_weights(&mut self) -> std::result::Result<(), ComputeError> {
        self.guarded(|state| {
            let begun = state.timeline.begin(state.gpu.stream())?;
            state.arenas.take_weights(&state.gpu)?;
            state.timeline.end(Phase::Weights, begun, state.gpu.stream())
        })
    }

    /// Computes parts of a node, shard by shard as their samples come.
    pub(super) fn parts(
        &mut self,
        parts: &[Node],
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
            if watch.is_overtaken() {
                return Err(Stopped::Overtaken);
            }
            counted.extend(self.make_room(watch)?);
            self.guarded(|state| state.evaluate(inputs))?;
        }
        counted.extend(self.count_all(watch)?);
        Ok(counted)
    }

    /// The sum of siblings, the left one of which is here.
    pub(super) fn add(&mut self, left: Sum, right: Sum) -> std::result::Result<Sum, ComputeError> {
        self.guarded(|state| state.added(left, right))
    }

    fn added(&mut self, left: Sum, right: Sum) -> Result<Sum> {
        let begun = self.timeline.begin(self.gpu.stream())?;
        let sum = self.exchange.add(left, right, &self.gpu)?;
        self.timeline.end(Phase::Sum, begun, self.gpu.stream())?;
        Ok(sum)
    }

    /// A sum's gradient and statistics, in the host's memory.
    pub(super) fn fetch(&mut self, sum: &Sum) -> std::result::Result<(Arena, Arena), ComputeError> {
        let mut gradient = self.guarded(|state| {
            let stream = Arc::clone(state.gpu.stream());
            let begun = state.timeline.begin(&stream)?;
            let queued = state.download.queue(&sum.0)?;
            state.timeline.end(Phase::Gradient, begun, &stream)?;
            queued.arrived()
        })?;
        let statistics = gradient.split_off(self.evaluator.state.layout().parameters());
        Ok((Arena::from(gradient), Arena::from(statistics)))
    }

    /// What the phases took since this was asked last.
    pub(super) fn timings(&mut self) -> std::result::Result<Vec<Timing>, ComputeError> {
        self.timeline.keep();
        self.guarded(|state| state.timeline.take())
    }

    /// The most bytes in use at once since this was asked last.
    pub(super) fn peak_memory(&self) -> u64 {
        self.gpu.peak_memory()
    }

    /// Queues a shard; its sum will be there when the GPU comes to it.
    fn shard(&mut self, inputs: Inputs) -> std::result::Result<Sum, ComputeError> {
        let Inputs { work, batch, samples, batch_samples } = inputs;
        let in_model = |state: &Self, source| state.evaluator.in_model(samples.len(), source);
        self.evaluator.check_targets(&batch)?;
        let (batch, targets) = self.upload(batch).map_err(|source| in_model(self, source))?;
        let position = PassPosition { seed: self.evaluator.seed, epoch: work.epoch, batch: work.batch };
        let pass = Pass::new(Mode::Train, position, &samples);
        let begun = self.timeline.begin(self.gpu.stream()).map_err(|source| in_model(self, source))?;
        let precision = self.evaluator.precision;
        let (logits, tape) =
            record(|| with_precision(precision, || self.evaluator.logits(&batch.inputs, &pass)));
        let logits = logits?;
        let backward = || {
            let stream = Arc::clone(self.gpu.stream());
            self.timeline.end(Phase::Forward, begun, &stream)?;
            let begun = self.timeline.begin(&stream)?;
            let cuda::Losses { losses, correct, gradient } =
                cuda::cross_entropy(&logits, &targets, batch.smoothing, batch_samples)?;
            self.timeline.end(Phase::Loss, begun, &stream)?;
            let begun = self.timeline.begin(&stream)?;
            let gradients = tape.backward(logits, gradient)?;
            self.timeline.end(Phase::Backward, begun, &stream)?;
            Ok((gradients, losses, correct))
        };
        let (gradients, losses, correct) = backward().map_err(|source| in_model(self, source))?;
        let reported = pass.into_reported();
        let in_order = self.evaluator.state.reported_in_order(&reported);
        let in_order = in_order.map_err(|source| self.evaluator.in_state(source))?;
        let statistics = in_order.into_iter().map(|(_, values)| Some(values.clone())).collect();
        let parameters =
            self.evaluator.state.variables().filter(|(entry, _)| entry.spec.kind == TensorKind::Parameter);
        let gradients = parameters.map(|(_, variable)| gradients.get(variable).cloned()).collect();
        let share = samples.len() as f32 / batch_samples as f32;
        let gather = || {
            let stream = Arc::clone(self.gpu.stream());
            let begun = self.timeline.begin(&stream)?;
            let sum =
                self.arenas.gather(contiguous(gradients)?, contiguous(statistics)?, share, &self.gpu)?;
            self.timeline.end(Phase::Sum, begun, &stream)?;
            self.in_flight.push_back(self.gpu.results(losses, correct)?);
            Ok(sum)
        };
        gather().map_err(|source| in_model(self, source))
    }

    /// Queues some samples of the test split.
    fn evaluate(&mut self, inputs: Inputs) -> std::result::Result<(), ComputeError> {
        let Inputs { work, batch, samples, .. } = inputs;
        let in_model = |state: &Self, source| state.evaluator.in_model(samples.len(), source);
        self.evaluator.check_targets(&batch)?;
        let (batch, targets) = self.upload(batch).map_err(|source| in_model(self, source))?;
        let position = PassPosition { seed: self.evaluator.seed, epoch: work.epoch, batch: 0 };
        let pass = Pass::new(Mode::Test, position, &samples);
        let precision = self.evaluator.precision;
        let logits =
            without_gradients(|| with_precision(precision, || self.evaluator.logits(&batch.inputs, &pass)))?;
        let mut losses = || {
            let cuda::Losses { losses, correct, .. } =
                cuda::cross_entropy(&logits.detach(), &targets, 0.0, 1)?;
            self.in_flight.push_back(self.gpu.results(losses, correct)?);
            Ok(())
        };
        losses().map_err(|source| in_model(self, source))
    }

    /// Samples and what they should be recognised as, on the device.
    fn upload(&mut self, batch: Batch) -> Result<(Batch, Targets)> {
        let copies = Arc::clone(self.gpu.copies());
        let begun = self.timeline.begin(&copies)?;
        let samples = batch.inputs.contiguous()?;
        let inputs = with_numbers([&samples], |[numbers]| self.inputs.upload(numbers, &self.gpu))??;
        let targets = self.targets.upload(&batch.targets, &self.gpu)?;
        self.timeline.end(Phase::Samples, begun, &copies)?;
        let inputs: Tensor = cuda::tensor(inputs, batch.inputs.shape(), &self.gpu);
        Ok((Batch { inputs, ..batch }, targets))
    }

    /// Waits until fewer shards are queued than may be; what was counted in the one that is done.
    fn make_room(&mut self, watch: &dyn Watch) -> std::result::Result<Option<Sums>, ComputeError> {
        if self.in_flight.len() < IN_FLIGHT { Ok(None) } else { self.count(watch) }
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
        let Some(results) = self.in_flight.pop_front() else { return Ok(None) };
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
        work: impl FnOnce(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, ComputeError> {
        work(self).map_err(|error| match (error.into(), self.gpu.check()) {
            (_, Err(failure)) => ComputeError::DeviceLost(failure.to_string()),
            (trouble, Ok(())) => {
                // Libraries take memory beside the pool: after a failure they find what nobody uses.
                self.gpu.trim_memory();
                trouble.on(self.gpu.stream().context().ordinal())
            }
        })
    }
}

/// The tensors as the kernels take them.
fn contiguous(tensors: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
    tensors.into_iter().map(|tensor| tensor.map(|tensor| tensor.contiguous()).transpose()).collect()
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

    fn part(&mut self, node: Node) -> std::result::Result<Option<Sum>, Stopped> {
        if node.len() > 1 {
            return Ok(None);
        }
        if self.watch.is_overtaken() {
            return Err(Stopped::Overtaken);
        }
        self.counted.extend(self.state.make_room(self.watch)?);
        // Whoever sends them has stopped, and says why.
        let inputs = self.samples.recv().map_err(|_| Stopped::Overtaken)?;
        Ok(Some(self.state.guarded(|state| state.shard(inputs))?))
    }

    fn add(&mut self, left: Sum, right: Sum) -> std::result::Result<Sum, Stopped> {
        Ok(self.state.guarded(|state| state.added(left, right))?)
    }
}
