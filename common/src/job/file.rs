//! The job file as its user writes it. Only the names of keys and the types of values have been
//! checked; [`JobFile::validate`] checks the rest and fills in defaults.

mod alpha;
mod base;
mod init;
mod parse;
mod schedule;
mod setting;

use serde::{Deserialize, Serialize};

pub use self::alpha::AlphaValue;
pub use self::base::{BaseName, BaseSection, DEFAULT_BETAS, DEFAULT_LION_BETAS};
pub use self::init::{
    ImportedFile, Init, InitialJob, Library, MissingStatistics, NamedCheckpoint, Naming, Positions,
    WhichCheckpoint,
};
pub use self::parse::{parse_parameters, parse_toml};
pub use self::schedule::{ScheduleName, ScheduleSection};
pub use self::setting::{Setting, apply_settings};
use super::{
    BatchStatistics, ComputeClasses, Criterion, DescentGradient, ExchangeFormat, Group, Labels, MethodName,
    Minibatch, OnFailure, Parameters, Perturbation, Precision,
};

/// A job as its user wrote it. The message on the wire has the same fields. [`JobFile::validate`] turns it into a
/// [`super::JobSpec`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Name for display.
    pub name: String,
    /// Key of all randomness of the job; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Model to train.
    pub model: ModelSection,
    /// Data set to train on.
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
    /// When training ends before its length is reached; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingSection>,
    /// Number of workers and priority.
    #[serde(default)]
    pub resources: ResourcesSection,
    /// What its user sorts and finds it by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// `[model]`: `kind`, `init` and the parameters of the kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSection {
    /// Kind of the model, as workers know it.
    pub kind: String,
    /// Initial weights. Absent: drawn from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// Parameters of the kind: all other keys.
    #[serde(flatten)]
    pub parameters: Parameters,
}

/// `[data]`: `kind`, `shuffle`, `drop_last` and the parameters of the kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataSection {
    /// Kind of the data set, as workers know it.
    pub kind: String,
    /// Whether the samples are shuffled anew for each epoch; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<bool>,
    /// Whether the last batch of an epoch is left out if it is smaller; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_last: Option<bool>,
    /// Parameters of the kind: all other keys.
    #[serde(flatten)]
    pub parameters: Parameters,
}

/// `[train]`: length of the training and division of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Length in passes over the training split; exactly one of this and `steps` is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Length in outer steps; exactly one of this and `epochs` is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Samples in a batch, over all workers together.
    pub batch_size: u64,
    /// Shards of each batch; default 8, or `batch_size` if that is smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// Format to which the operands of matrix products are rounded; default f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Format in which gradients are added and exchanged; default f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangeFormat>,
    /// Which workers may serve the job together; default one class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_classes: Option<ComputeClasses>,
}

/// Names of the ascents in job files. T is the scaling of the gradient, φ′ the perturbed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AscentName {
    /// T = 1: the Euclidean norm.
    Sam,
    /// T = |φ′| + η: scaled by the size of each weight.
    Asam,
}

/// `gradients`: how many gradients the inner steps of Lookbehind use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientsName {
    /// k + 1 per outer step: each serves a descent and the next ascent.
    Reuse,
    /// 2k per outer step, as in the published reference code.
    Reference,
}

/// `[optimizer]`. Keys that the method does not use are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSection {
    /// Method; default lookbehind.
    #[serde(default)]
    pub method: MethodName,
    /// Norm of the ascents; default sam.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ascent: Option<AscentName>,
    /// Inner steps per outer step; default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    /// Length of one ascent; default 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
    /// Offset η of the adaptive scaling; default 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Interpolation factor; default 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<AlphaValue>,
    /// Gradients per outer step; default reuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<GradientsName>,
    /// Batches per outer step; default same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minibatch: Option<Minibatch>,
    /// Gradient of the descent; default last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descent: Option<DescentGradient>,
    /// Which gradients update running statistics; default every pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_statistics: Option<BatchStatistics>,
    /// Which gradient the ascents follow; default global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perturbation: Option<Perturbation>,
    /// Euclidean norm to which the gradients of descents are clipped; absent means that they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Optimizer that takes the descents.
    #[serde(default)]
    pub base: BaseSection,
    /// Tensors that are trained in another way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// `[checkpoint]`. A checkpoint is always written after the last outer step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// Epochs between two checkpoints; 0 means only at the end. At most one of this, `every_steps` and `every_minutes`
    /// may be given; if all are absent, `every_minutes` is 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_epochs: Option<u64>,
    /// Outer steps between two checkpoints; 0 means only at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<u64>,
    /// Minutes between two checkpoints; 0 means only at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_minutes: Option<f64>,
    /// Number of newest checkpoints that are kept; default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// What the job does if a checkpoint cannot be written; default continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// By what the best evaluation is chosen, whose checkpoint is kept beside the newest ones; absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<Criterion>,
}

/// `[early_stopping]`: when training ends before its length is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStoppingSection {
    /// By what evaluations are compared; default validation_loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Criterion>,
    /// Evaluations in a row that may be no better.
    pub patience: u64,
    /// By more than how much an evaluation must be better; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_delta: Option<f64>,
}

/// `[eval]`: when the test split is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// Epochs between two evaluations; 0 means only at the end; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_epochs: Option<u64>,
}

/// `[resources]`: workers and priority, on which the result does not depend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourcesSection {
    /// Free workers that the job needs to start; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_workers: Option<u32>,
    /// Maximum number of workers at a time; absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_workers: Option<u32>,
    /// Jobs of a higher priority get free workers first; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Shards of each outer step that are computed by two workers and compared; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<u32>,
}
