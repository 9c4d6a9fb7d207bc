//! Loads jobs with candle, on the CPU or on GPUs.

mod files;
mod kept;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use candle_core::Device;
use lookbehind_common::job::{BatchStatistics, DataSpec, JobSpec, Precision};
use lookbehind_common::layout::Layout;
use lookbehind_common::optimizer::{ClimbOrder, Visit};

use super::climbing::Climbing;
use super::cpu::{CpuJob, Parts, Room};
use super::cuda::{self, Gpus};
use super::device;
use super::evaluator::Evaluator;
use super::loader::Loader;
use super::panics;
use super::sampler::Sampler;
use super::samples::{Kinds, Samples};
use super::{Backend, PrepareError, PreparedJob, Rounding, Watch};
use crate::data::{
    Cancellation, DataDescription, DataEnvironment, DataError, DataReport, Dataset, depends_on_seed,
};
use crate::device::{DeviceChoice, DeviceError};
use crate::models::BuildError;
use crate::models::Model;
use crate::parameters::{ModelTensors, Recorder};
use crate::registry::Registry;

/// This fraction of the memory limit (one eighth) is for samples that are prepared ahead.
const KEPT: u64 = 8;

/// Copies of the weights that a worker has for transfers: the weights that arrive, and the blocks of partials and sums that
/// it adds for others.
const COPIES: u64 = 2;

/// Computes with candle. Models and data sets come from a registry.
pub struct CandleBackend {
    registry: Registry,
    environment: DataEnvironment,
    /// The GPUs that it computes on; `None` for the CPU.
    gpus: Option<Gpus>,
    threads: usize,
    /// Copies of a model's weights that transfers take.
    copies: u64,
    /// The order in which shards climb; `None` for the one that takes less memory.
    climb_order: Option<ClimbOrder>,
    loaded: Mutex<Option<LoadedData>>,
}

/// The data set that was loaded last, as long as a job uses it: the workers of one process share it, so that it is in
/// memory only once.
struct LoadedData {
    spec: DataSpec,
    /// The job's seed, if it decides which samples are used.
    seed: Option<u64>,
    dataset: Weak<dyn Dataset>,
}

impl CandleBackend {
    /// A backend on the CPU that computes with as many threads as the process has. The environment's memory limit
    /// applies to a job's samples, to its weights, and, if the allocator is metered ([`crate::memory`]), to everything
    /// that the process has in use.
    pub fn new(registry: Registry, environment: DataEnvironment) -> Self {
        let threads = rayon::current_num_threads();
        Self {
            registry,
            environment,
            gpus: None,
            threads,
            copies: 0,
            climb_order: None,
            loaded: Mutex::new(None),
        }
    }

    /// The same backend on the devices of a choice.
    ///
    /// # Errors
    /// If there are no such devices.
    pub fn on(self, choice: &DeviceChoice) -> Result<Self, DeviceError> {
        Ok(Self { gpus: Gpus::chosen(choice)?, ..self })
    }

    /// Ordinals of the GPUs that it computes on.
    pub(crate) fn gpus(&self) -> Vec<usize> {
        self.gpus.as_ref().map_or_else(Vec::new, Gpus::ordinals)
    }

    fn on_cpu(&self) -> bool {
        self.gpus.is_none()
    }

    /// The same backend with another number of threads, for several workers in one process.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// The same backend for a worker whose weights and partials go over the network: what they take counts towards the
    /// memory limit.
    #[must_use]
    pub fn over_network(self) -> Self {
        Self { copies: COPIES, ..self }
    }

    /// Builds a job's model for the samples as the job itself describes them, without loading any data; returns the layout
    /// of its tensors.
    ///
    /// # Errors
    /// If the job is wrong or names a kind that this worker does not know, or if it cannot be decided here whether it is:
    /// because only the data says what the samples are, or because there is too little memory.
    pub fn build(&self, spec: &JobSpec) -> Result<Arc<Layout>, PrepareError> {
        self.registry.check_kinds(&spec.model, &spec.data)?;
        caught(spec, || match self.registry.input_spec(&spec.data)? {
            Some(input_spec) => {
                let (_, tensors) = self.model(spec, &input_spec.description(), &Device::Cpu)?;
                Ok(Arc::clone(tensors.layout()))
            }
            None => {
                let kind = &spec.data.kind;
                let reason =
                    format!("data kind {kind:?}: the shape of its samples is known only from the data");
                Err(PrepareError::Worker(reason))
            }
        })
    }

    /// What a job's data are, and what of them was left out or converted. Data that a prepared job holds are not loaded
    /// again.
    ///
    /// # Errors
    /// If the data cannot be loaded.
    pub fn data_report(&self, spec: &JobSpec) -> Result<DataReport, PrepareError> {
        caught(spec, || Ok(self.dataset(spec, &Cancellation::default())?.report()))
    }

    fn job(&self, spec: &JobSpec, cancellation: &Cancellation) -> Result<Box<dyn PreparedJob>, PrepareError> {
        self.check_devices(spec)?;
        let dataset = self.dataset(spec, cancellation)?;
        let data = dataset.description();
        let further = dataset.further_tests();
        let tests = [data.test_samples, further.validation, further.clean, further.memorised];
        let sampler = Sampler::new(spec, data.train_samples, tests)?;
        let memory_limit = self.environment.memory_limit;
        let (shards, samples_of_shard) = (sampler.most_shards(), sampler.largest_shard());
        let loader = Loader::new(Arc::clone(&dataset), spec.seed, memory_limit / KEPT);
        let samples = Samples { loader, sampler, kinds: Kinds::of(spec) };
        let evaluator = |device: &Device| self.evaluator(spec, data, device);
        if let Some(gpus) = &self.gpus {
            let job = gpus.job(samples, spec.train.exchange, evaluator)?;
            self.check_visits(spec, &job.description().layout, shards, samples_of_shard)?;
            return Ok(job);
        }
        let evaluator = evaluator(&Device::Cpu)?;
        let lengths = evaluator.tensors.layout().lengths();
        let kept = self.kept(spec, evaluator.tensors.layout(), shards);
        let room = Room { kept, transfers: self.copies * lengths.bytes(), limit: memory_limit };
        let rounding = Rounding::of(spec, evaluator.tensors.layout());
        let parts = Parts { samples, evaluator, threads: self.threads, rounding, room };
        let watch: Arc<dyn Watch> = Arc::new(cancellation.clone());
        Ok(Box::new(CpuJob::new(parts, &watch)?))
    }

    /// A job's model for data of this description.
    pub(super) fn evaluator(
        &self,
        spec: &JobSpec,
        data: &DataDescription,
        device: &Device,
    ) -> Result<Evaluator, PrepareError> {
        let (model, tensors) = self.model(spec, data, device)?;
        Ok(Evaluator {
            seed: spec.seed,
            precision: spec.train.precision,
            frozen_statistics: spec.optimizer.batch_statistics == BatchStatistics::Frozen,
            kinds: Kinds::of(spec),
            classes: data.classes,
            model,
            tensors,
        })
    }

    /// Bytes that may be in use.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.environment.memory_limit
    }

    /// Refuses a job that the devices cannot compute.
    fn check_devices(&self, spec: &JobSpec) -> Result<(), PrepareError> {
        if spec.train.precision == Precision::Tf32 && self.on_cpu() {
            let reason = "train.precision: \"tf32\" needs a GPU; this worker computes on its CPU";
            return Err(PrepareError::Worker(reason.to_owned()));
        }
        if spec.optimizer.batch_statistics == BatchStatistics::Frozen && !self.on_cpu() {
            let reason =
                "optimizer.batch_statistics: \"frozen\" needs a worker on a CPU; this one computes on GPUs";
            return Err(PrepareError::Worker(reason.to_owned()));
        }
        Ok(())
    }

    /// A job's data set. A caller that asks for one that is being loaded waits for it.
    pub(super) fn dataset(
        &self,
        job: &JobSpec,
        cancellation: &Cancellation,
    ) -> Result<Arc<dyn Dataset>, DataError> {
        let spec = &job.data;
        let seed = depends_on_seed(&spec.parameters).then_some(job.seed);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = loaded.as_ref().filter(|known| known.spec.parameters == spec.parameters);
        let known = known.filter(|known| known.spec.kind == spec.kind && known.seed == seed);
        if let Some(dataset) = known.and_then(|known| known.dataset.upgrade()) {
            return Ok(dataset);
        }
        let environment = DataEnvironment { cancellation: cancellation.clone(), ..self.environment.clone() };
        let dataset: Arc<dyn Dataset> = self.registry.dataset(spec, job.seed, &environment)?.into();
        dataset.report().lines().iter().for_each(|line| tracing::info!(kind = spec.kind, "data: {line}"));
        *loaded = Some(LoadedData { spec: spec.clone(), seed, dataset: Arc::downgrade(&dataset) });
        Ok(dataset)
    }

    fn model(
        &self,
        spec: &JobSpec,
        data: &DataDescription,
        device: &Device,
    ) -> Result<(Box<dyn Model>, ModelTensors), PrepareError> {
        let recorder =
            Recorder::new(device.clone(), self.environment.memory_limit).trained_as(&spec.optimizer);
        let built = self.registry.model(&spec.model, data, recorder.builder());
        let in_model = |error: &dyn std::fmt::Display| format!("model kind {:?}: {error}", spec.model.kind);
        if recorder.exceeded_memory() {
            let reason = built.err().map_or_else(String::new, |error| in_model(&error));
            return Err(PrepareError::Worker(reason));
        }
        let built = match built {
            Err(BuildError::Tensor(error)) => Err(BuildError::Tensor(cuda::in_building(error, device)?)),
            built => built,
        };
        let model = built.map_err(|error| PrepareError::Job(in_model(&error)))?;
        if spec.train.precision != Precision::F32 && !model.follows_precision() {
            let kind = &spec.model.kind;
            let reason = format!("train.precision: model kind {kind:?} computes in f32 only");
            return Err(PrepareError::Job(reason));
        }
        let tensors = recorder.finish().map_err(|error| PrepareError::Job(in_model(&error)))?;
        let ascends = spec.optimizer.method.parts().ascent.is_some();
        let fitting = spec.optimizer.groups.check(tensors.layout(), ascends);
        fitting.map_err(|error| PrepareError::Job(error.to_string()))?;
        Ok((model, tensors))
    }
}

impl Backend for CandleBackend {
    fn device(&self) -> String {
        self.gpus.as_ref().map_or_else(device::describe, Gpus::describe)
    }

    fn class_description(&self, precision: Precision) -> String {
        match &self.gpus {
            None => device::describe_class(precision),
            Some(gpus) => gpus.describe_class(precision),
        }
    }

    fn prepare(
        &self,
        spec: &JobSpec,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn PreparedJob>, PrepareError> {
        caught(spec, || self.job(spec, cancellation).map(|job| climbing(spec, job, self.climb_order)))
    }
}

/// The same job, whose shards climb by themselves if it says so.
fn climbing(spec: &JobSpec, job: Box<dyn PreparedJob>, order: Option<ClimbOrder>) -> Box<dyn PreparedJob> {
    match Visit::of(&spec.optimizer.method) {
        Some(visit) => Box::new(Climbing::new(job, visit, spec, order)),
        None => job,
    }
}

/// Reports a panic of model or data set as the job's fault.
pub(super) fn caught<T>(
    spec: &JobSpec,
    request: impl FnOnce() -> Result<T, PrepareError>,
) -> Result<T, PrepareError> {
    panics::catch(request).unwrap_or_else(|panic| {
        let (model, data) = (&spec.model.kind, &spec.data.kind);
        Err(PrepareError::Job(format!("model kind {model:?}, data kind {data:?}: {panic}")))
    })
}

#[cfg(test)]
mod tests;
