//! A model as evaluations use it: any samples of a data set, in test mode, at weights that change from one unit of work
//! to the next. Samples are computed in pieces whose size follows from the job, so that results do not depend on threads.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use lookbehind_common::evaluate::{normalise_logits, pull_back};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::JobSpec;
use lookbehind_common::layout::Layout;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::{add_assign, effective_shards, shard_range};
use lookbehind_kernels::cross_entropy::{CrossEntropy, cross_entropy};
use lookbehind_kernels::{copy_into, record, with_precision, without_gradients};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::batch::Batch;
use super::candle::caught;
use super::evaluator::Evaluator;
use super::{CandleBackend, ComputeError, PrepareError};
use crate::data::{Cancellation, Dataset, SampleContext, Split, Target};
use crate::models::{BatchPosition, ForwardContext, Mode};

/// Most samples that are computed at once.
const PIECE: u64 = 128;

/// A model with weights of its own, and the data of its job.
pub(crate) struct Measuring {
    evaluator: Evaluator,
    dataset: Arc<dyn Dataset>,
    pool: ThreadPool,
    /// Samples of a piece.
    piece: usize,
    /// Samples of a batch of the job, and the shards that it is divided into.
    batch_size: u64,
    shards: u32,
}

/// The loss at some samples.
pub(crate) struct Found {
    /// Sums over the samples.
    pub(crate) sums: Sums,
    /// Gradient of their mean loss.
    pub(crate) gradient: FlatBuffer,
}

/// A job's data as evaluations use them: no sample is augmented or mixed with others.
///
/// # Errors
/// If they cannot be loaded.
pub(crate) fn plain_data(backend: &CandleBackend, spec: &JobSpec) -> Result<Arc<dyn Dataset>, PrepareError> {
    let mut plain = spec.clone();
    for key in ["augment", "label_smoothing"] {
        plain.data.parameters.remove(key);
    }
    caught(spec, || Ok(backend.dataset(&plain, &Cancellation::default())?))
}

impl Measuring {
    /// The job's model, which computes with this number of threads.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(crate) fn new(
        backend: &CandleBackend,
        spec: &JobSpec,
        dataset: Arc<dyn Dataset>,
        threads: usize,
    ) -> Result<Self, PrepareError> {
        // Evaluations are of the whole model, whatever of it a job trains.
        let mut whole = spec.clone();
        (whole.optimizer.groups, whole.optimizer.batch_statistics) = Default::default();
        let evaluator = caught(spec, || backend.evaluator(&whole, dataset.description(), &Device::Cpu))?;
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().map_err(ComputeError::Threads)?;
        let (batch_size, shards) = (spec.train.batch_size, spec.train.shards);
        // No larger than the shards that training had memory for.
        let largest = batch_size.div_ceil(u64::from(effective_shards(batch_size, shards)).max(1));
        let piece = largest.clamp(1, PIECE) as usize;
        Ok(Self { evaluator, dataset, pool, piece, batch_size, shards })
    }

    /// Names and shapes of the model's tensors.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        self.evaluator.tensors.layout()
    }

    /// Number of classes of the data.
    pub(crate) fn classes(&self) -> usize {
        self.evaluator.classes
    }

    /// Overwrites the model's weights.
    ///
    /// # Errors
    /// If the lengths are not those of the layout.
    pub(crate) fn load(&self, weights: ModelState<&[f32]>) -> Result<(), ComputeError> {
        let loaded = self.pool.install(|| self.evaluator.tensors.load(weights));
        loaded.map_err(|source| self.evaluator.in_state(source))
    }

    /// Calls `each` with logits, target and loss of each sample, in their order.
    ///
    /// # Errors
    /// If samples cannot be read, or the model cannot be computed.
    pub(crate) fn each_sample(
        &self,
        split: Split,
        samples: &[u64],
        mut each: impl FnMut(&[f32], u32, f64),
    ) -> Result<(), ComputeError> {
        for piece in samples.chunks(self.piece) {
            let (logits, targets) = self.logits(split, piece)?;
            for (row, target) in logits.chunks_exact(self.classes().max(1)).zip(&targets) {
                let loss = self.loss(row, std::slice::from_ref(target), false, 1)?.sums.loss;
                each(row, target.class, loss);
            }
        }
        Ok(())
    }

    /// Sums over some samples; with `normalised`, the losses are those of normalised logits.
    ///
    /// # Errors
    /// As [`Self::each_sample`].
    pub(crate) fn sums(&self, split: Split, samples: &[u64], normalised: bool) -> Result<Sums, ComputeError> {
        let mut sums = Sums::default();
        for piece in samples.chunks(self.piece) {
            let (logits, targets) = self.logits(split, piece)?;
            sums.add(&self.loss(&logits, &targets, normalised, 1)?.sums);
        }
        Ok(sums)
    }

    /// Sums over some training samples and the gradient of their mean loss, with running statistics as constants.
    ///
    /// # Errors
    /// As [`Self::each_sample`].
    pub(crate) fn gradient(&self, samples: &[u64], normalised: bool) -> Result<Found, ComputeError> {
        let gradient = FlatBuffer::zeros(self.layout().parameters());
        let mut found = Found { sums: Sums::default(), gradient };
        for piece in samples.chunks(self.piece) {
            let batch = self.batch(Split::Train, piece)?;
            let part = self.caught(|| self.gradient_of(batch, piece, normalised, samples.len() as u64))?;
            found.sums.add(&part.sums);
            add_assign(&mut found.gradient, &part.gradient);
        }
        Ok(found)
    }

    /// Running statistics at the loaded weights: the mean of the batch statistics of whole batches of these training
    /// samples, each over the job's shards as in training.
    ///
    /// # Errors
    /// As [`Self::each_sample`].
    pub(crate) fn running_statistics(&self, samples: &[u64]) -> Result<FlatBuffer, ComputeError> {
        let size = (self.batch_size as usize).min(samples.len()).max(1);
        let mut mean = FlatBuffer::zeros(self.layout().statistics());
        let mut batches = 0_u32;
        for batch in samples.chunks_exact(size) {
            add_assign(&mut mean, &self.batch_statistics(batch, batches.into())?);
            batches += 1;
        }
        mean.iter_mut().for_each(|value| *value /= batches as f32);
        Ok(mean)
    }

    /// Batch statistics of a batch, the mean over its shards weighted by their samples.
    fn batch_statistics(&self, samples: &[u64], number: u64) -> Result<FlatBuffer, ComputeError> {
        let shards = effective_shards(samples.len() as u64, self.shards);
        let mut sum = FlatBuffer::zeros(self.layout().statistics());
        for shard in 0..shards {
            let range = shard_range(samples.len() as u64, shards, shard);
            let shard = &samples[range.start as usize..range.end as usize];
            let batch = self.batch(Split::Train, shard)?;
            let share = shard.len() as f32 / samples.len() as f32;
            let statistics = self.caught(|| {
                let position = BatchPosition { seed: self.evaluator.seed, epoch: 0, batch: number };
                let context = ForwardContext::new(Mode::Train, position, shard);
                self.forward(&batch.inputs, &context)?;
                let reported = context.into_reported();
                self.evaluator
                    .tensors
                    .statistics(&reported, share)
                    .map_err(|source| self.evaluator.in_state(source))
            })?;
            add_assign(&mut sum, &statistics);
        }
        Ok(sum)
    }

    fn logits(&self, split: Split, samples: &[u64]) -> Result<(Vec<f32>, Vec<Target>), ComputeError> {
        let batch = self.batch(split, samples)?;
        let logits = self.caught(|| {
            let context = ForwardContext::new(Mode::Test, self.position(), samples);
            let logits = self.forward(&batch.inputs, &context)?;
            self.values(&logits, samples.len())
        })?;
        Ok((logits, batch.targets))
    }

    fn gradient_of(
        &self,
        batch: Batch,
        samples: &[u64],
        normalised: bool,
        denominator: u64,
    ) -> Result<Found, ComputeError> {
        let evaluator = &self.evaluator;
        let in_model = |source| evaluator.in_model(samples.len(), source);
        let context = ForwardContext::new(Mode::Test, self.position(), samples);
        let (logits, tape) =
            record(|| with_precision(evaluator.precision, || evaluator.logits(&batch.inputs, &context)));
        let logits = logits?;
        let values = self.values(&logits, samples.len())?;
        let CrossEntropy { sums, gradient } = self.loss(&values, &batch.targets, normalised, denominator)?;
        let gradient = Tensor::from_vec(gradient, logits.shape(), logits.device()).map_err(in_model)?;
        let gradients = tape.backward(logits, gradient).map_err(in_model)?;
        let gradient =
            evaluator.tensors.gradients(&gradients).map_err(|source| evaluator.in_state(source))?;
        Ok(Found { sums, gradient })
    }

    /// Losses, and the gradient with respect to the logits of their sum over `denominator`.
    fn loss(
        &self,
        logits: &[f32],
        targets: &[Target],
        normalised: bool,
        denominator: u64,
    ) -> Result<CrossEntropy, ComputeError> {
        let classes = self.classes();
        let in_model = |source| self.evaluator.in_model(targets.len(), source);
        if !normalised {
            return cross_entropy(logits, classes, targets, 0.0, denominator).map_err(in_model);
        }
        let normal = normalise_logits(logits, classes);
        let CrossEntropy { sums, gradient } =
            cross_entropy(&normal, classes, targets, 0.0, denominator).map_err(in_model)?;
        Ok(CrossEntropy { sums, gradient: pull_back(logits, &gradient, classes) })
    }

    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor, ComputeError> {
        let evaluator = &self.evaluator;
        without_gradients(|| with_precision(evaluator.precision, || evaluator.logits(inputs, context)))
    }

    fn values(&self, logits: &Tensor, samples: usize) -> Result<Vec<f32>, ComputeError> {
        let mut values = vec![0.0; samples * self.classes()];
        copy_into(logits, &mut values).map_err(|source| self.evaluator.in_model(samples, source))?;
        Ok(values)
    }

    fn batch(&self, split: Split, samples: &[u64]) -> Result<Batch, ComputeError> {
        let context = SampleContext { seed: self.evaluator.seed, epoch: 0 };
        let in_data =
            |source| ComputeError::Data { kind: self.evaluator.kinds.data.clone(), source: Box::new(source) };
        let batch = self.dataset.batch(split, samples, context).map_err(in_data)?;
        let batch = Batch::new(batch, split, samples.len(), self.dataset.description()).map_err(in_data)?;
        self.evaluator.check_targets(&batch)?;
        Ok(batch)
    }

    fn position(&self) -> BatchPosition {
        BatchPosition { seed: self.evaluator.seed, epoch: 0, batch: 0 }
    }

    /// Computes with the threads of this model, and turns panics of the model into errors.
    fn caught<T: Send>(
        &self,
        compute: impl FnOnce() -> Result<T, ComputeError> + Send,
    ) -> Result<T, ComputeError> {
        self.pool.install(|| self.evaluator.caught(compute))
    }
}
