//! The models and data sets that a worker knows, by the kind that a job names.

use std::collections::BTreeMap;

use candle_nn::VarBuilder;
use lookbehind_common::job::{DataSpec, JobError, ModelSpec, Parameters, did_you_mean};

use crate::data::{self, DataDescription, DataEnvironment, DataError, Dataset, InputSpec, input_spec};
use crate::models::{self, BuildError, Model};

/// Builds a model for a data set from the parameters under `[model]`.
pub type ModelBuilder =
    dyn Fn(&Parameters, &DataDescription, VarBuilder<'_>) -> Result<Box<dyn Model>, BuildError> + Send + Sync;

/// Loads a data set from the parameters under `[data]`.
pub type DatasetBuilder =
    dyn Fn(&Parameters, &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> + Send + Sync;

/// Returns what the parameters under `[data]` say about a data set's samples before any file is read; `None` if they
/// say nothing.
pub type InputSpecFn = dyn Fn(&Parameters) -> Result<Option<InputSpec>, JobError> + Send + Sync;

/// Models and data sets by kind.
pub struct Registry {
    models: BTreeMap<String, Box<ModelBuilder>>,
    datasets: BTreeMap<String, Box<DatasetBuilder>>,
    input_specs: BTreeMap<String, Box<InputSpecFn>>,
}

impl Registry {
    /// The built-in kinds: models `mlp`, `resnet`, `sequential`, `vit` and `wide_resnet`; data sets `cifar10`,
    /// `cifar100`, `csv`, `digits`, `folder`, `idx`, `parquet`, `safetensors` and `webdataset`.
    pub fn builtin() -> Self {
        Self { models: BTreeMap::new(), datasets: BTreeMap::new(), input_specs: BTreeMap::new() }
            .with_model("mlp", models::mlp)
            .with_model("resnet", models::resnet)
            .with_model("sequential", models::sequential)
            .with_model("vit", models::vit)
            .with_model("wide_resnet", models::wide_resnet)
            .with_dataset("cifar10", data::cifar10)
            .with_dataset("cifar100", data::cifar100)
            .with_dataset("csv", data::csv)
            .with_dataset("digits", data::digits)
            .with_dataset("folder", data::folder)
            .with_dataset("idx", data::idx)
            .with_dataset("parquet", data::parquet)
            .with_dataset("safetensors", data::safetensors)
            .with_dataset("webdataset", data::webdataset)
            .with_input_spec("cifar10", input_spec::cifar10)
            .with_input_spec("cifar100", input_spec::cifar100)
            .with_input_spec("csv", input_spec::csv)
            .with_input_spec("digits", input_spec::digits)
            .with_input_spec("folder", input_spec::folder)
            .with_input_spec("idx", input_spec::idx)
            .with_input_spec("parquet", input_spec::parquet)
            .with_input_spec("safetensors", input_spec::safetensors)
            .with_input_spec("webdataset", input_spec::webdataset)
    }

    /// Adds a model; it replaces an existing one of that kind.
    #[must_use]
    pub fn with_model<F>(mut self, kind: &str, builder: F) -> Self
    where
        F: Fn(&Parameters, &DataDescription, VarBuilder<'_>) -> Result<Box<dyn Model>, BuildError>
            + Send
            + Sync
            + 'static,
    {
        self.models.insert(kind.to_owned(), Box::new(builder));
        self
    }

    /// Adds a data set; it replaces an existing one of that kind and its input spec.
    #[must_use]
    pub fn with_dataset<F>(mut self, kind: &str, builder: F) -> Self
    where
        F: Fn(&Parameters, &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> + Send + Sync + 'static,
    {
        self.datasets.insert(kind.to_owned(), Box::new(builder));
        self.input_specs.remove(kind);
        self
    }

    /// Adds what is known about a data set's samples before it is loaded, so that a job's model can be checked without
    /// it.
    #[must_use]
    pub fn with_input_spec<F>(mut self, kind: &str, input_spec: F) -> Self
    where
        F: Fn(&Parameters) -> Result<Option<InputSpec>, JobError> + Send + Sync + 'static,
    {
        self.input_specs.insert(kind.to_owned(), Box::new(input_spec));
        self
    }

    /// Checks that the kinds of a job's model and data set are known.
    ///
    /// # Errors
    /// The error names the unknown kind, and those that are known.
    pub fn check_kinds(&self, model: &ModelSpec, data: &DataSpec) -> Result<(), JobError> {
        find(&self.models, "model.kind", &model.kind)?;
        find(&self.datasets, "data.kind", &data.kind).map(|_| ())
    }

    /// What a job itself says about its samples; `None` if only the data says it.
    ///
    /// # Errors
    /// If a parameter is wrong.
    pub fn input_spec(&self, spec: &DataSpec) -> Result<Option<InputSpec>, JobError> {
        data::input_spec_with_options(&spec.parameters, |parameters| match self.input_specs.get(&spec.kind) {
            Some(input_spec) => input_spec(parameters),
            None => Ok(None),
        })
    }

    /// Builds a job's model.
    ///
    /// # Errors
    /// If the kind is unknown or its builder fails.
    pub fn model(
        &self,
        spec: &ModelSpec,
        data: &DataDescription,
        builder: VarBuilder<'_>,
    ) -> Result<Box<dyn Model>, BuildError> {
        let build = find(&self.models, "model.kind", &spec.kind)?;
        build(&spec.parameters, data, builder)
    }

    /// Loads a job's data set. The choice of samples, wrong labels, normalisation, augmentation and label smoothing are
    /// common to all kinds: builders do not see their keys. What is drawn is keyed by the job's `seed`.
    ///
    /// # Errors
    /// If the kind is unknown, its builder fails, or samples cannot be prepared as the job says.
    pub fn dataset(
        &self,
        spec: &DataSpec,
        seed: u64,
        environment: &DataEnvironment,
    ) -> Result<Box<dyn Dataset>, DataError> {
        let build = find(&self.datasets, "data.kind", &spec.kind)?;
        data::with_options(&spec.parameters, seed, |parameters| build(parameters, environment))
    }
}

fn find<'a, T: ?Sized>(
    known: &'a BTreeMap<String, Box<T>>,
    key: &str,
    kind: &str,
) -> Result<&'a T, JobError> {
    known.get(kind).map(Box::as_ref).ok_or_else(|| {
        let kinds: Vec<&str> = known.keys().map(String::as_str).collect();
        let meant = did_you_mean(kind, kinds.iter().copied());
        JobError::new(key, &format!("expected one of {}, found {kind:?}{meant}", kinds.join(", ")))
    })
}

#[cfg(test)]
mod tests;
