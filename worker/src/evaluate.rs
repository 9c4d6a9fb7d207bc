//! Evaluating trained models on the data of their job: loss and accuracy, under noise on the weights, in the
//! neighbourhood of the weights, and the curvature there. What is computed is defined in
//! [`lookbehind_common::evaluate`]; here it is computed, on the CPU.
//!
//! An [`Evaluation`] has the job's data. It gives the record of each unit of a [`Plan`], for several models: the same
//! bytes whatever the threads, because each unit is computed by one model on one thread pool, and its samples are divided
//! as the job says.

mod predict;
mod run;
mod units;

use std::sync::Arc;

use lookbehind_common::evaluate::{EvaluatedSplit, Plan, Sizes};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::JobSpec;
use lookbehind_common::layout::Layout;
use lookbehind_common::model_state::ModelState;

pub use predict::Prediction;
pub use run::Known;

use crate::compute::{CandleBackend, ComputeError, Measuring, PrepareError, plain_data};
use crate::data::{DataReport, Dataset, Split};

/// The data of a job, on which its models are evaluated.
pub struct Evaluation {
    backend: Arc<CandleBackend>,
    spec: JobSpec,
    dataset: Arc<dyn Dataset>,
    layout: Arc<Layout>,
}

impl Evaluation {
    /// Loads a job's data, without augmentation, and builds its model.
    ///
    /// # Errors
    /// If job, data or model are wrong, or there is too little memory.
    pub fn load(backend: Arc<CandleBackend>, spec: &JobSpec) -> Result<Self, PrepareError> {
        let dataset = plain_data(&backend, spec)?;
        let measuring = Measuring::new(&backend, spec, Arc::clone(&dataset), 1)?;
        let layout = Arc::clone(measuring.layout());
        Ok(Self { backend, spec: spec.clone(), dataset, layout })
    }

    /// Names and shapes of the model's tensors.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the data are.
    pub fn report(&self) -> DataReport {
        self.dataset.report()
    }

    /// Numbers of samples, with those of the split on which loss and accuracy are computed.
    pub fn sizes(&self, split: EvaluatedSplit) -> Sizes {
        let data = self.dataset.description();
        let split = match split {
            EvaluatedSplit::Test => data.test_samples,
            EvaluatedSplit::Train => data.train_samples,
        };
        Sizes { split, train: data.train_samples, batch: self.spec.train.batch_size }
    }

    /// Most bytes that may be in use.
    pub fn memory_limit(&self) -> u64 {
        self.backend.memory_limit()
    }

    /// The weights with running statistics that are computed anew from training batches.
    ///
    /// # Errors
    /// If the model cannot be computed.
    pub fn recalibrated(
        &self,
        plan: &Plan,
        weights: ModelState<FlatBuffer>,
        threads: usize,
    ) -> Result<ModelState<FlatBuffer>, PrepareError> {
        let measuring = self.measuring(threads)?;
        measuring.load(weights.values())?;
        let statistics = measuring.running_statistics(&plan.recalibration_order())?;
        Ok(ModelState { statistics, ..weights })
    }

    fn measuring(&self, threads: usize) -> Result<Measuring, PrepareError> {
        Measuring::new(&self.backend, &self.spec, Arc::clone(&self.dataset), threads)
    }
}

/// The split of the data set.
fn split_of(split: EvaluatedSplit) -> Split {
    match split {
        EvaluatedSplit::Test => Split::Test,
        EvaluatedSplit::Train => Split::Train,
    }
}

/// The error of a unit, as one of preparing: it says who is at fault.
fn failed(error: ComputeError) -> PrepareError {
    error.into()
}

#[cfg(test)]
mod tests;
