//! The job file as its user writes it: every key optional or typed, nothing checked yet beyond types.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::parameters::normalise_parameters;
use super::{
    BatchStatistics, ComputeClasses, JobError, MethodName, Minibatch, OnFailure, Parameters, Precision,
};

/// A job as written. The same fields travel over the wire; [`JobFile::validate`] turns it into a [`super::JobSpec`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Label for people.
    pub name: String,
    /// Key of all randomness; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What is trained.
    pub model: ModelSection,
    /// What it is trained on.
    pub data: DataSection,
    /// Length, batch size and shards.
    pub train: TrainSection,
    /// Method and base optimizer.
    pub optimizer: OptimizerSection,
    /// Learning rate over time.
    #[serde(default)]
    pub schedule: ScheduleSection,
    /// When checkpoints are written.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
    /// When the test split is evaluated.
    #[serde(default)]
    pub eval: EvalSection,
    /// How many workers the job wants.
    #[serde(default)]
    pub resources: ResourcesSection,
}

/// `[model]`: `kind`, `init` and whatever the kind takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSection {
    /// Name under which workers know the model.
    pub kind: String,
    /// In a job file the path of a safetensors file, beside the job file; on the wire the file's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub parameters: Parameters,
}

/// `[data]`: `kind`, `shuffle`, `drop_last` and whatever the kind takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataSection {
    /// Name under which workers know the data set.
    pub kind: String,
    /// Whether each epoch has an order of its own; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<bool>,
    /// Whether an epoch's last, smaller batch is left out; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_last: Option<bool>,
    /// Everything else.
    #[serde(flatten)]
    pub parameters: Parameters,
}

/// `[train]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Passes over the training split; either this or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Outer steps; either this or `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Samples in a batch, over all workers together.
    pub batch_size: u64,
    /// Slices into which each batch is cut; default 8, or batch_size where that is smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// What the operands of products are rounded to; default f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Which workers may serve the job together; default one class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_classes: Option<ComputeClasses>,
}

/// Names of the ascents in job files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AscentName {
    /// T = 1.
    Sam,
    /// T = |φ′| + η.
    Asam,
}

/// `alpha = 0.5` or `alpha = "adaptive"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AlphaValue {
    /// A number.
    Static(f64),
    /// The word.
    Adaptive,
}

/// `gradients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientsName {
    /// k+1 evaluations.
    Reuse,
    /// 2k evaluations.
    Reference,
}

/// `perturbation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerturbationName {
    /// Over the gradient of the whole batch.
    Global,
}

/// `[optimizer]`. Keys that the method does not use are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSection {
    /// The member of the family; default lookbehind.
    #[serde(default)]
    pub method: MethodName,
    /// Scaling of the ascent; default sam.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ascent: Option<AscentName>,
    /// Inner steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    /// Length of one ascent step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
    /// Offset of the adaptive scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Interpolation factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<AlphaValue>,
    /// Evaluations per outer step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<GradientsName>,
    /// Batches per outer step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minibatch: Option<Minibatch>,
    /// Updates of running statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_statistics: Option<BatchStatistics>,
    /// Scope of the perturbation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perturbation: Option<PerturbationName>,
    /// What takes the descent steps.
    #[serde(default)]
    pub base: BaseSection,
}

/// Names of the base optimizers in job files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are those of `BaseOptimizer`, documented there")]
pub enum BaseName {
    #[default]
    Sgd,
    Adamw,
}

/// Decays of AdamW's moments where the job does not say.
pub const DEFAULT_BETAS: [f64; 2] = [0.9, 0.999];

/// `[optimizer.base]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSection {
    /// Which one; default sgd.
    #[serde(default)]
    pub kind: BaseName,
    /// Learning rate; default 0.1 for sgd, 0.001 for adamw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// sgd: default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// sgd: default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Default 0 for sgd, 0.01 for adamw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// adamw: decays of the first and second moment; default [`DEFAULT_BETAS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// adamw: default 1e-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
}

/// Names of the schedules in job files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are those of `schedule::Shape`, documented there")]
pub enum ScheduleName {
    #[default]
    Constant,
    Multistep,
    Cosine,
}

/// `[schedule]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSection {
    /// Shape after the warm-up; default constant.
    #[serde(default)]
    pub kind: ScheduleName,
    /// multistep: where the rate is multiplied by gamma.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<u64>,
    /// multistep: default 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// cosine: default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// Units of linear warm-up; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// First factor of the warm-up; default 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_start: Option<f64>,
}

/// `[checkpoint]`; the last outer step always writes one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// Every so many epochs; either this or `every_steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_epochs: Option<u64>,
    /// Every so many outer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<u64>,
    /// How many are kept; default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// What follows when one cannot be written; default continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// `[eval]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// Every so many epochs; 0 means only at the end; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_epochs: Option<u64>,
}

/// `[resources]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourcesSection {
    /// The job starts when so many are free; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_workers: Option<u32>,
    /// It takes no more than this; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_workers: Option<u32>,
    /// Jobs of a higher priority get free workers first; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// Reads a job file.
///
/// # Errors
/// When the text is no TOML, a key is unknown or missing, a value has the wrong type, or a parameter cannot go over
/// the wire as it is; the error names the key by its path.
pub fn parse_toml(text: &str) -> Result<JobFile, JobError> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| JobError::syntax(&error))?;
    let mut file: JobFile = serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        JobError::new(if path == "." { "job" } else { &path }, error.inner().message())
    })?;
    normalise_parameters("model", &mut file.model.parameters)?;
    normalise_parameters("data", &mut file.data.parameters)?;
    Ok(file)
}

/// Reads the parameters of a model or data set of some kind into that kind's own type.
///
/// # Errors
/// When a key is unknown or missing or a value has the wrong type; the error names the key as
/// `section.key`.
pub fn parse_parameters<T: DeserializeOwned>(section: &str, parameters: &Parameters) -> Result<T, JobError> {
    let value = serde_json::Value::Object(parameters.clone());
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { section.to_owned() } else { format!("{section}.{path}") };
        JobError::new(&path, &error.inner().to_string())
    })
}

impl Serialize for AlphaValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AlphaValue::Static(alpha) => serializer.serialize_f64(*alpha),
            AlphaValue::Adaptive => serializer.serialize_str("adaptive"),
        }
    }
}

impl<'de> Deserialize<'de> for AlphaValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = AlphaValue;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number or \"adaptive\"")
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<AlphaValue, E> {
                Ok(AlphaValue::Static(value))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<AlphaValue, E> {
                Ok(AlphaValue::Static(value as f64))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<AlphaValue, E> {
                if value == "adaptive" {
                    Ok(AlphaValue::Adaptive)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(value), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
