//! Loads jobs with candle on the CPU.

use candle_core::Device;
use lookbehind_common::job::{JobError, JobSpec};

use super::device;
use super::evaluator::Evaluator;
use super::job::{CandleJob, Parts};
use super::loader::Loader;
use super::panics;
use super::sampler::Sampler;
use super::{Backend, ComputeError, PrepareError, PreparedJob};
use crate::data::{DataDescription, DataEnvironment, DataError};
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
}

impl CandleBackend {
    /// A backend on the CPU that computes with as many threads as the process has. The environment's memory limit
    /// holds for a job's samples, for its weights, and, where the allocator is metered ([`crate::memory`]), for all that
    /// the process has in use.
    pub fn new(registry: Registry, environment: DataEnvironment) -> Self {
        Self { registry, environment, device: Device::Cpu, threads: rayon::current_num_threads() }
    }

    /// The same with a number of threads, for several workers in one process.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    fn job(&self, spec: &JobSpec) -> Result<CandleJob, PrepareError> {
        let dataset = self.registry.dataset(&spec.data, &self.environment)?;
        let data = dataset.description();
        let sampler = Sampler::new(spec, data.train_samples, data.test_samples)?;
        let (model, state) = self.model(spec, data)?;
        let evaluator = Evaluator {
            seed: spec.seed,
            model_kind: spec.model.kind.clone(),
            data_kind: spec.data.kind.clone(),
            classes: data.classes,
            model,
            state,
        };
        let memory_limit = self.environment.memory_limit;
        let loader = Loader::new(dataset.into(), self.device.clone(), spec.seed, memory_limit / KEPT);
        Ok(CandleJob::new(Parts { loader, sampler, evaluator, threads: self.threads, memory_limit })?)
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
        let job = panics::catch(|| self.job(spec)).unwrap_or_else(|panic| {
            let (model, data) = (&spec.model.kind, &spec.data.kind);
            Err(PrepareError::Job(format!("model kind {model:?}, data kind {data:?}: {panic}")))
        })?;
        Ok(Box::new(job))
    }
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
