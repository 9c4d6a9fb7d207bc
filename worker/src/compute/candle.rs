//! Loads jobs with candle on the CPU.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use candle_core::Device;
use lookbehind_common::job::{DataSpec, JobError, JobSpec, Precision};

use super::device;
use super::evaluator::Evaluator;
use super::job::{CandleJob, Parts};
use super::loader::Loader;
use super::panics;
use super::sampler::Sampler;
use super::{Backend, ComputeError, PrepareError, PreparedJob};
use crate::data::{DataDescription, DataEnvironment, DataError, Dataset};
use crate::models::Model;
use crate::parameters::{ModelState, Recorder};
use crate::registry::Registry;

/// One part of so many of the memory limit is for samples that are prepared ahead.
const KEPT: u64 = 8;

/// Computes with candle, models and data sets from a registry.
pub struct CandleBackend {
    registry: Registry,
    environment: DataEnvironment,
    device: Device,
    threads: usize,
    loaded: Mutex<Option<LoadedData>>,
}

/// The data set that was loaded last, as long as a job uses it: the workers of one process share it.
struct LoadedData {
    spec: DataSpec,
    dataset: Weak<dyn Dataset>,
}

impl CandleBackend {
    /// A backend on the CPU that computes with as many threads as the process has. The environment's memory limit
    /// holds for a job's samples, for its weights, and, where the allocator is metered ([`crate::memory`]), for all that
    /// the process has in use.
    pub fn new(registry: Registry, environment: DataEnvironment) -> Self {
        let threads = rayon::current_num_threads();
        Self { registry, environment, device: Device::Cpu, threads, loaded: Mutex::new(None) }
    }

    /// The same with a number of threads, for several workers in one process.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Builds a job's model for what the job says of its samples by itself, without any of its data.
    ///
    /// # Errors
    /// When the job is wrong, or when this cannot be told here: because a kind is unknown, because only the data says what
    /// the samples are, or because there is too little memory.
    pub fn build(&self, spec: &JobSpec) -> Result<(), PrepareError> {
        let known = self.registry.check_kinds(&spec.model, &spec.data);
        known.map_err(|error| PrepareError::Worker(error.to_string()))?;
        caught(spec, || match self.registry.outline(&spec.data)? {
            Some(outline) => self.model(spec, &outline.description()).map(|_| ()),
            None => {
                let kind = &spec.data.kind;
                let reason = format!("data kind {kind:?}: what its samples are is known from the data alone");
                Err(PrepareError::Worker(reason))
            }
        })
    }

    fn job(&self, spec: &JobSpec) -> Result<CandleJob, PrepareError> {
        let dataset = self.dataset(&spec.data)?;
        let data = dataset.description();
        let sampler = Sampler::new(spec, data.train_samples, data.test_samples)?;
        let (model, state) = self.model(spec, data)?;
        let evaluator = Evaluator {
            seed: spec.seed,
            precision: spec.train.precision,
            model_kind: spec.model.kind.clone(),
            data_kind: spec.data.kind.clone(),
            classes: data.classes,
            model,
            state,
        };
        let memory_limit = self.environment.memory_limit;
        let loader = Loader::new(Arc::clone(&dataset), self.device.clone(), spec.seed, memory_limit / KEPT);
        Ok(CandleJob::new(Parts { loader, sampler, evaluator, threads: self.threads, memory_limit })?)
    }

    /// A job's data set. Who asks for one that is being loaded waits for it.
    fn dataset(&self, spec: &DataSpec) -> Result<Arc<dyn Dataset>, DataError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = loaded.as_ref().filter(|known| known.spec.parameters == spec.parameters);
        let known = known.filter(|known| known.spec.kind == spec.kind);
        if let Some(dataset) = known.and_then(|known| known.dataset.upgrade()) {
            return Ok(dataset);
        }
        let dataset: Arc<dyn Dataset> = self.registry.dataset(spec, &self.environment)?.into();
        *loaded = Some(LoadedData { spec: spec.clone(), dataset: Arc::downgrade(&dataset) });
        Ok(dataset)
    }

    fn model(
        &self,
        spec: &JobSpec,
        data: &DataDescription,
    ) -> Result<(Box<dyn Model>, ModelState), PrepareError> {
        let recorder = Recorder::new(self.device.clone(), self.environment.memory_limit);
        let built = self.registry.model(&spec.model, data, recorder.builder());
        let in_model = |error: &dyn std::fmt::Display| format!("model kind {:?}: {error}", spec.model.kind);
        if recorder.exceeded_memory() {
            let reason = built.err().map_or_else(String::new, |error| in_model(&error));
            return Err(PrepareError::Worker(reason));
        }
        let model = built.map_err(|error| PrepareError::Job(in_model(&error)))?;
        if spec.train.precision != Precision::F32 && !model.follows_precision() {
            let kind = &spec.model.kind;
            let reason = format!("train.precision: model kind {kind:?} computes in f32 only");
            return Err(PrepareError::Job(reason));
        }
        let state = recorder.finish().map_err(|error| PrepareError::Job(in_model(&error)))?;
        Ok((model, state))
    }
}

impl Backend for CandleBackend {
    fn device(&self) -> String {
        device::describe()
    }

    fn class_description(&self) -> String {
        device::describe_class()
    }

    fn prepare(&self, spec: &JobSpec) -> Result<Box<dyn PreparedJob>, PrepareError> {
        Ok(Box::new(caught(spec, || self.job(spec))?))
    }
}

/// A panic of model or data set as the job's fault.
fn caught<T>(spec: &JobSpec, work: impl FnOnce() -> Result<T, PrepareError>) -> Result<T, PrepareError> {
    panics::catch(work).unwrap_or_else(|panic| {
        let (model, data) = (&spec.model.kind, &spec.data.kind);
        Err(PrepareError::Job(format!("model kind {model:?}, data kind {data:?}: {panic}")))
    })
}

impl From<JobError> for PrepareError {
    fn from(error: JobError) -> Self {
        PrepareError::Job(error.to_string())
    }
}

impl From<DataError> for PrepareError {
    fn from(error: DataError) -> Self {
        let reason = error.to_string();
        if error.is_fault_of_job() { PrepareError::Job(reason) } else { PrepareError::Worker(reason) }
    }
}

impl From<ComputeError> for PrepareError {
    /// A model that cannot be evaluated is the job's fault, data that cannot be read the worker's.
    fn from(error: ComputeError) -> Self {
        match error {
            ComputeError::Data { source, .. } => (*source).into(),
            ComputeError::Memory { .. } | ComputeError::Threads(_) => PrepareError::Worker(error.to_string()),
            _ => PrepareError::Job(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "candle_test.rs"]
mod tests;
