//! The coordinator's arithmetic for one job: the canonical reduction of partials, the optimizer, and the digest of what
//! comes out. It is handed around by value, so that whoever computes owns it; the state machine only says what is to
//! be computed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lookbehind_common::digest::{Digest, weights_digest};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::{JobDescription, JobSpec};
use lookbehind_common::layout::Layout;
use lookbehind_common::optimizer::{GradientRequest, Next, Optimizer, OptimizerState, OuterStepReport};
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::{MissingShard, Segment, reduce};
use lookbehind_common::sampling::Position;

/// A job's optimizer with what it needs to go on.
#[derive(Debug)]
pub struct Trainer {
    layout: Arc<Layout>,
    optimizer: Optimizer,
    position: Position,
}

/// Parameters and statistics that are shared, not copied.
#[derive(Clone, Debug)]
pub struct Weights {
    /// All parameters.
    pub parameters: Arc<FlatBuffer>,
    /// All statistics.
    pub statistics: Arc<FlatBuffer>,
}

/// What a worker's arithmetic was observed to be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ComputeClass {
    /// Digest of the probe's partial.
    pub probe: Digest,
    /// Processor, libraries and build in words.
    pub description: String,
}

impl std::fmt::Display for ComputeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}], probe {}", self.description, self.probe)
    }
}

/// What the trainer is to do.
#[derive(Debug)]
pub enum Input {
    /// Begin an outer step.
    Begin {
        /// Batches that it may take.
        batches: u32,
        /// Learning rate.
        learning_rate: f64,
    },
    /// Reduce the partials of an evaluation and take the next step.
    Gradient {
        /// Shards of the batch.
        shards: u32,
        /// Partials that cover them.
        parts: BTreeMap<Segment, Partial>,
    },
}

/// What came of it.
#[derive(Debug)]
pub struct Advance {
    /// The trainer, for the next input.
    pub trainer: Box<Trainer>,
    /// Seconds that it took.
    pub seconds: f64,
    /// Seconds of these that summing the partials took.
    pub reduction: f64,
    /// Sums over the batch just reduced.
    pub sums: Option<Sums>,
    /// What follows.
    pub outcome: Outcome,
}

/// What follows an advance.
#[derive(Debug)]
pub enum Outcome {
    /// Another gradient is wanted, at these weights.
    Gradient(GradientRequest, Weights),
    /// The outer step is done; the slow weights have this digest.
    Finished(OuterStepReport, Digest),
    /// The numbers are beyond use: the job cannot go on.
    Failed(String),
}

/// All that a checkpoint holds. Cheap to make: the flat buffers are shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The job.
    pub job: JobId,
    /// What the weights are.
    pub description: Arc<JobDescription>,
    /// Where the job stands.
    pub position: Position,
    /// Slow weights, statistics and the base optimizer's state.
    pub state: OptimizerState,
    /// The class that the job is bound to.
    pub class: Option<ComputeClass>,
    /// How many checkpoints are kept.
    pub keep: u32,
}

/// Why a job cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl Trainer {
    /// Starts at given weights.
    ///
    /// # Errors
    /// When their lengths do not fit the layout.
    pub fn new(
        spec: &JobSpec,
        description: &JobDescription,
        parameters: FlatBuffer,
        statistics: FlatBuffer,
    ) -> Result<Self, StartError> {
        let layout = Arc::new(description.layout.clone());
        let optimizer = Optimizer::new(&spec.optimizer, Arc::clone(&layout), parameters, statistics)
            .map_err(|error| StartError(format!("initial weights: {error}")))?;
        Ok(Self { layout, optimizer, position: Position::default() })
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// When the state does not fit the job's optimizer or layout.
    pub fn restore(
        spec: &JobSpec,
        description: &JobDescription,
        state: OptimizerState,
        position: Position,
    ) -> Result<Self, StartError> {
        let layout = Arc::new(description.layout.clone());
        let optimizer = Optimizer::restore(&spec.optimizer, Arc::clone(&layout), state)
            .map_err(|error| StartError(format!("checkpoint: {error}")))?;
        Ok(Self { layout, optimizer, position })
    }

    /// Where the job stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Numbers in the weights.
    pub fn parameters(&self) -> usize {
        self.optimizer.slow().len()
    }

    /// Moves on to the next outer step.
    pub fn set_position(&mut self, position: Position) {
        self.position = position;
    }

    /// The slow weights and statistics.
    pub fn slow(&self) -> Weights {
        Weights {
            parameters: Arc::clone(self.optimizer.slow()),
            statistics: Arc::clone(self.optimizer.statistics()),
        }
    }

    /// What a checkpoint needs of the optimizer.
    pub fn state(&self) -> OptimizerState {
        self.optimizer.state()
    }

    /// Does what is asked for. Takes as long as a few passes over the weights.
    pub fn advance(mut self: Box<Self>, input: Input) -> Advance {
        let begun = Instant::now();
        let mut reduction = 0.0;
        let (sums, outcome) = match input {
            Input::Begin { batches, learning_rate } => {
                let request = self.optimizer.begin(batches, learning_rate);
                (None, Outcome::Gradient(request, self.weights_of_request()))
            }
            Input::Gradient { shards, mut parts } => {
                let total =
                    reduce::<MissingShard>(Segment::root(shards), &mut |segment| Ok(parts.remove(&segment)));
                reduction = begun.elapsed().as_secs_f64();
                match total {
                    Ok(total) => self.absorb(total),
                    Err(error) => (None, Outcome::Failed(error.to_string())),
                }
            }
        };
        Advance { trainer: self, seconds: begun.elapsed().as_secs_f64(), reduction, sums, outcome }
    }

    fn absorb(&mut self, total: Partial) -> (Option<Sums>, Outcome) {
        let sums = total.sums;
        let outcome = match self.optimizer.absorb(total.gradient, &total.statistics) {
            Ok(_) if !sums.loss.is_finite() => Outcome::Failed(format!("the loss is {}", sums.loss)),
            Ok(Next::Gradient(request)) => Outcome::Gradient(request, self.weights_of_request()),
            Ok(Next::Finished(report)) => Outcome::Finished(report, self.digest()),
            Err(not_finite) => Outcome::Failed(not_finite.to_string()),
        };
        (Some(sums), outcome)
    }

    fn digest(&self) -> Digest {
        weights_digest(&self.layout, self.optimizer.slow(), self.optimizer.statistics())
    }

    /// The weights that the optimizer wants evaluated.
    fn weights_of_request(&self) -> Weights {
        Weights { parameters: self.optimizer.weights(), statistics: Arc::clone(self.optimizer.statistics()) }
    }
}
