//! A checked job: types in which impossible combinations cannot be written.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::method::Method;
use crate::digest::Digest;
pub use crate::sampling::Length;
pub use crate::schedule::Schedule;

/// Parameters of a model or data set, opaque to everyone but the workers.
pub type Parameters = Map<String, Value>;

/// A checked job specification.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// Label for people.
    pub name: String,
    /// Key of all randomness of the job.
    pub seed: u64,
    /// What is trained.
    pub model: ModelSpec,
    /// What it is trained on.
    pub data: DataSpec,
    /// Length, batch size and shards.
    pub train: TrainSpec,
    /// Method and base optimizer.
    pub optimizer: OptimizerSpec,
    /// Learning rate over time, as factors of the base optimizer's rate.
    pub schedule: Schedule,
    /// When checkpoints are written.
    pub checkpoint: CheckpointSpec,
    /// Epochs between two evaluations of the test split; `None` means only at the end.
    pub eval_every_epochs: Option<u64>,
    /// How many workers the job wants.
    pub resources: ResourcesSpec,
}

/// A model by kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Name under which workers know it.
    pub kind: String,
    /// Digest of a file of initial weights; drawn from the seed where absent.
    pub init: Option<Digest>,
    /// For the workers.
    pub parameters: Parameters,
}

/// A data set by kind.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    /// Name under which workers know it.
    pub kind: String,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Whether an epoch's last, smaller batch is left out.
    pub drop_last: bool,
    /// For the workers.
    pub parameters: Parameters,
}

/// Length of the run and the division of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainSpec {
    /// How long the run is.
    pub length: Length,
    /// Samples in a batch, over all workers together.
    pub batch_size: u64,
    /// Slices into which each batch is cut.
    pub shards: u32,
    /// What workers compute products with.
    pub precision: Precision,
    /// Which workers may serve the job together.
    pub compute_classes: ComputeClasses,
}

/// Which workers may serve a job together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeClasses {
    /// Those of one compute class, the first worker's: the result is a function of the job alone, to the
    /// last bit.
    #[default]
    One,
    /// Any: the result depends, in its last bits, on who computed what.
    Any,
}

/// What the operands of products are rounded to: in linear layers, convolutions and attention, forward and backward. Sums,
/// everything else, weights, gradients and the optimizer are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// TF32, on GPUs that have it: the 11 leading bits of the significand.
    Tf32,
    /// bfloat16: the 8 leading bits of the significand, to nearest, ties to even.
    Bf16,
}

/// When checkpoints are written; the last outer step always writes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// The rhythm; `None` means only at the end.
    pub every: Option<Length>,
    /// How many are kept, newest first.
    pub keep: u32,
    /// What follows when one cannot be written.
    pub on_failure: OnFailure,
}

/// What a job does when a checkpoint cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It trains on; where that was the last checkpoint, it pauses.
    #[default]
    Continue,
    /// It pauses: the newest checkpoint is where it goes on.
    Pause,
    /// It fails.
    Fail,
}

/// How many workers the job wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourcesSpec {
    /// The job starts when so many are free.
    pub min_workers: u32,
    /// It takes no more than this; `None` means all.
    pub max_workers: Option<u32>,
    /// Jobs of a higher priority get free workers first.
    pub priority: i32,
}

/// Method and base optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerSpec {
    /// The member of the family.
    pub method: Method,
    /// Which evaluations update running statistics.
    pub batch_statistics: BatchStatistics,
    /// What takes the descent steps.
    pub base: BaseOptimizer,
}

/// Which evaluations update running statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatistics {
    /// As often as 2k passes of the published reference would.
    #[default]
    EveryPass,
    /// Only those at unperturbed weights.
    Unperturbed,
}

/// What takes the descent steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BaseOptimizer {
    /// Stochastic gradient descent as PyTorch defines it.
    Sgd {
        /// Learning rate.
        lr: f64,
        /// Momentum in [0, 1).
        momentum: f64,
        /// Nesterov momentum.
        nesterov: bool,
        /// Added to the gradient, times the weights.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019), as PyTorch defines it.
    AdamW {
        /// Learning rate.
        lr: f64,
        /// Decays of the first and second moment.
        betas: [f64; 2],
        /// Added to the denominator.
        eps: f64,
        /// Decoupled decay.
        weight_decay: f64,
    },
}

impl BaseOptimizer {
    /// Learning rate before the schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            BaseOptimizer::Sgd { lr, .. } | BaseOptimizer::AdamW { lr, .. } => lr,
        }
    }
}
