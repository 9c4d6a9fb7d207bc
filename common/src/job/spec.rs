//! A checked job, in types that cannot express invalid combinations of keys.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::file::WhichCheckpoint;
use super::groups::Groups;
use super::method::Method;
use crate::digest::Digest;
pub use crate::exchange_format::ExchangeFormat;
use crate::ids::JobId;
pub use crate::sampling::Length;
pub use crate::schedule::{Schedule, Unit};
pub use crate::selection::{Criterion, EarlyStopping};

/// Parameters of a model or data set, which only workers interpret.
pub type Parameters = Map<String, Value>;

/// Labels of a job: what its user sorts and finds it by.
pub type Labels = BTreeMap<String, String>;

/// A checked job specification.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// Name for display.
    pub name: String,
    /// What its user sorts and finds it by; nothing depends on them.
    pub labels: Labels,
    /// Key of all randomness of the job.
    pub seed: u64,
    /// Model to train.
    pub model: ModelSpec,
    /// Data set to train on.
    pub data: DataSpec,
    /// Length, batch size and shards.
    pub train: TrainSpec,
    /// Method and base optimizer.
    pub optimizer: OptimizerSpec,
    /// Learning rate over time, applied to the base optimizer's rate.
    pub schedule: Schedule,
    /// When checkpoints are written.
    pub checkpoint: CheckpointSpec,
    /// Epochs between two evaluations of the test split; `None` means only after the last outer step.
    pub eval_every_epochs: Option<u64>,
    /// When training ends before its length is reached; `None`: never.
    pub early_stopping: Option<EarlyStopping>,
    /// Number of workers and priority.
    pub resources: ResourcesSpec,
}

/// A model, named by its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Kind, as workers know it.
    pub kind: String,
    /// Initial weights; `None` means that they are drawn from the seed.
    pub init: Option<InitSpec>,
    /// Parameters of the kind, which workers check.
    pub parameters: Parameters,
}

/// Initial weights that are not drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitSpec {
    /// The uploaded file with this digest.
    File(Digest),
    /// A checkpoint of another job.
    Job {
        /// Identity of the other job.
        job: JobId,
        /// Which checkpoint; `None` means the newest one when the new job is created.
        checkpoint: Option<WhichCheckpoint>,
        /// Whether the new job goes on where the other one stopped, with the state of its optimizer.
        continues: bool,
    },
}

/// A data set, named by its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    /// Kind, as workers know it.
    pub kind: String,
    /// Whether the samples are shuffled anew for each epoch.
    pub shuffle: bool,
    /// Whether the last batch of an epoch is left out if it is smaller.
    pub drop_last: bool,
    /// Parameters of the kind, which workers check.
    pub parameters: Parameters,
}

/// Length of the training and division of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainSpec {
    /// Length in epochs or outer steps.
    pub length: Length,
    /// Samples in a batch, over all workers together.
    pub batch_size: u64,
    /// Shards of each batch.
    pub shards: u32,
    /// Rounding of the operands of matrix products.
    pub precision: Precision,
    /// Format in which gradients are added and exchanged.
    pub exchange: ExchangeFormat,
    /// Which workers may serve the job together.
    pub compute_classes: ComputeClasses,
}

/// Which workers may serve a job together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeClasses {
    /// Workers of one compute class, that of the first worker: the result depends on the job alone, to the last bit.
    #[default]
    One,
    /// Workers of any class: the last bits of the result depend on which worker computed which shards.
    Any,
}

/// Format to which the operands of matrix products are rounded: in linear layers, convolutions and attention, forward
/// and backward. Sums, all other operations, weights, gradients and the optimizer are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// TF32, on GPUs that support it: the 11 leading bits of the significand.
    Tf32,
    /// bfloat16: the 8 leading bits of the significand, rounded to nearest, ties to even.
    Bf16,
}

/// When checkpoints are written. One is always written after the last outer step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// How far two checkpoints are apart.
    pub every: CheckpointInterval,
    /// Number of newest checkpoints that are kept, at least 1.
    pub keep: u32,
    /// What the job does if a checkpoint cannot be written.
    pub on_failure: OnFailure,
    /// By what the best evaluation is chosen, whose checkpoint is kept beside the newest ones; `None`: none is.
    pub keep_best: Option<Criterion>,
}

/// How far two checkpoints are apart. The result does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointInterval {
    /// There is only the one after the last outer step.
    AtEnd,
    /// A number of epochs or outer steps.
    Length(Length),
    /// A time, and more where writing a checkpoint takes so long that it would cost more than a small share of the time.
    Time(Duration),
}

/// What a job does if a checkpoint cannot be written. Earlier checkpoints are not affected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It continues; if that was the first or the last checkpoint, it pauses.
    #[default]
    Continue,
    /// It pauses, and continues from the newest checkpoint when it is resumed.
    Pause,
    /// It fails.
    Fail,
}

/// Number of workers and priority. The result does not depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourcesSpec {
    /// Free workers that the job needs to start.
    pub min_workers: u32,
    /// Maximum number of workers at a time; `None` means no limit.
    pub max_workers: Option<u32>,
    /// Jobs with a higher priority get free workers first; -100 to 100.
    pub priority: i32,
    /// Shards of each outer step that are computed by two workers of different identities and compared.
    pub verify: u32,
}

/// Method and base optimizer.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerSpec {
    /// Method with its parameters.
    pub method: Method,
    /// Which gradients update running statistics.
    pub batch_statistics: BatchStatistics,
    /// Optimizer that takes the descents.
    pub base: BaseOptimizer,
    /// Euclidean norm over all trained parameters to which the gradients of descents are clipped, as PyTorch's
    /// `clip_grad_norm_` does; `None` means that they are not. Ascents are not affected.
    pub clip_norm: Option<f64>,
    /// Tensors that are trained in another way.
    pub groups: Groups,
}

/// Which gradients update running statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatistics {
    /// All, once for each use as ascent or descent: as often as the forward passes of the published reference code.
    #[default]
    EveryPass,
    /// Only gradients at unperturbed weights.
    Unperturbed,
    /// None: running statistics keep their initial values, and training normalises with them.
    Frozen,
}

/// The optimizer that takes the descents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BaseOptimizer {
    /// Stochastic gradient descent as PyTorch defines it.
    Sgd {
        /// Learning rate before the schedule.
        lr: f64,
        /// Momentum in [0, 1).
        momentum: f64,
        /// Whether the momentum is Nesterov's.
        nesterov: bool,
        /// Times the weights, it is added to the gradient.
        weight_decay: f64,
    },
    /// Adam (Kingma & Ba, ICLR 2015), as PyTorch defines it.
    Adam {
        /// Learning rate before the schedule.
        lr: f64,
        /// Decay rates of the first and second moment, each in [0, 1).
        betas: [f64; 2],
        /// Added to the denominator, above 0.
        eps: f64,
        /// Times the weights, it is added to the gradient.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019), as PyTorch defines it.
    AdamW {
        /// Learning rate before the schedule.
        lr: f64,
        /// Decay rates of the first and second moment, each in [0, 1).
        betas: [f64; 2],
        /// Added to the denominator, above 0.
        eps: f64,
        /// Times learning rate and weights, it is subtracted from the weights.
        weight_decay: f64,
    },
    /// Lion (Chen et al., NeurIPS 2023, algorithm 2): a step is the sign of an average of momentum and gradient.
    Lion {
        /// Learning rate before the schedule.
        lr: f64,
        /// Share of the momentum in a step, and decay rate of the momentum, each in [0, 1).
        betas: [f64; 2],
        /// Times learning rate and weights, it is subtracted from the weights.
        weight_decay: f64,
    },
}

impl BaseOptimizer {
    /// Learning rate before the schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            BaseOptimizer::Sgd { lr, .. }
            | BaseOptimizer::Adam { lr, .. }
            | BaseOptimizer::AdamW { lr, .. }
            | BaseOptimizer::Lion { lr, .. } => lr,
        }
    }

    /// The same optimizer with another weight decay.
    #[must_use]
    pub fn with_weight_decay(mut self, decay: f64) -> Self {
        let (BaseOptimizer::Sgd { weight_decay, .. }
        | BaseOptimizer::Adam { weight_decay, .. }
        | BaseOptimizer::AdamW { weight_decay, .. }
        | BaseOptimizer::Lion { weight_decay, .. }) = &mut self;
        *weight_decay = decay;
        self
    }
}
