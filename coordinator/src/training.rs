//! The coordinator's arithmetic for one job: reduction of partials in the order of the reduction tree, optimizer, and
//! digest of the weights. A [`Trainer`] is passed by value between state machine and computing thread, so that the
//! thread that computes owns it; the state machine only decides what to compute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lookbehind_common::blocks::{BlockDigest, Blocks};
use lookbehind_common::digest::{Digest, weights_digest};
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::{JobDescription, JobSpec};
use lookbehind_common::layout::Layout;
use lookbehind_common::model_state::{ModelState, Weights};
use lookbehind_common::optimizer::{
    AbsorbError, GradientRequest, Next, Optimizer, OptimizerState, OuterStepReport,
};
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::{MissingShard, Segment, reduce};
use lookbehind_common::sampling::Position;
use lookbehind_common::selection::Selection;

use crate::state::RangeParts;

/// A job's optimizer, with layout and position.
#[derive(Debug)]
pub struct Trainer {
    layout: Arc<Layout>,
    optimizer: Optimizer,
    /// Format in which gradients are added.
    format: ExchangeFormat,
    position: Position,
    /// The blocks of the slow weights and their digests, from the end of one outer step to the beginning of the next.
    slow_digests: Option<(Blocks, Arc<[BlockDigest]>)>,
}

/// A compute class, as a worker's probe determined it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ComputeClass {
    /// Digest of the probe. Workers with equal digests are of one class.
    pub probe: Digest,
    /// Processor, libraries and build, for people; classes are not compared by it.
    pub description: String,
}

impl std::fmt::Display for ComputeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}], probe {}", self.description, self.probe)
    }
}

/// Input of a step of the trainer.
#[derive(Debug)]
pub enum Input {
    /// Begin an outer step.
    Begin {
        /// Number of batches available to the outer step.
        batches: u32,
        /// Learning rate of the base optimizer in this outer step.
        learning_rate: f64,
    },
    /// Reduce the partials of a gradient request and let the optimizer continue.
    Gradient {
        /// Number of shards of the batch.
        shards: u32,
        /// Partials of segments that together cover all shards.
        parts: BTreeMap<Segment, Partial>,
        /// Gradient and batch statistics by ranges of blocks, if workers exchanged them with each other: `parts` then
        /// hold only sums over samples.
        ranges: Option<RangeParts>,
    },
}

/// Result of a step of the trainer.
#[derive(Debug)]
pub struct Advance {
    /// The trainer, for the next input.
    pub trainer: Box<Trainer>,
    /// Duration of the step in seconds.
    pub seconds: f64,
    /// The part of `seconds` spent on adding the partials.
    pub reduction: f64,
    /// Loss and counts over the batch just reduced; `None` if none was.
    pub sums: Option<Sums>,
    /// What the optimizer needs next.
    pub outcome: Outcome,
}

/// What follows a step of the trainer.
#[derive(Debug)]
pub enum Outcome {
    /// The optimizer needs another gradient, at these weights; with the digests of their blocks, if they were asked for.
    Gradient(GradientRequest, Weights, Arc<[BlockDigest]>),
    /// The outer step is finished; with the optimizer's report, the digest of the slow weights and those of their blocks,
    /// if they were asked for.
    Finished(OuterStepReport, Digest, Arc<[BlockDigest]>),
    /// The job cannot continue because a value is not finite. With the reason.
    Diverged(String),
    /// The job cannot continue for another reason: a partial is missing.
    Failed(String),
}

/// Contents of a checkpoint. Cheap to make: the flat buffers are shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Identity of the job.
    pub job: JobId,
    /// Model and data; its layout gives the tensors in the flat buffers their names.
    pub description: Arc<JobDescription>,
    /// Position after the last finished outer step.
    pub position: Position,
    /// Slow weights, running statistics and the base optimizer's state.
    pub state: OptimizerState,
    /// The class that the job is bound to, if it is.
    pub class: Option<ComputeClass>,
    /// Number of checkpoints to keep, this one included; older ones are removed after it is written.
    pub keep: u32,
    /// What is known of the job's evaluations; the checkpoint of the best one is kept as well.
    pub selection: Selection,
}

/// Where an activation of a job begins to train.
#[derive(Debug)]
pub struct Start {
    /// The trainer at that position.
    pub trainer: Box<Trainer>,
    /// Outer steps that the job's journal held: those after the trainer's position are done again.
    pub recorded: u64,
    /// What is known of the job's evaluations up to there.
    pub selection: Selection,
}

/// Why a job cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl Trainer {
    /// A trainer at position 0 with these weights.
    ///
    /// # Errors
    /// If their lengths do not fit the layout.
    pub fn new(
        spec: &JobSpec,
        description: &JobDescription,
        weights: ModelState<FlatBuffer>,
    ) -> Result<Self, StartError> {
        let layout = Arc::new(description.layout.clone());
        let optimizer = Optimizer::new(&spec.optimizer, spec.seed, Arc::clone(&layout), weights)
            .map_err(|error| StartError(format!("initial weights: {error}")))?;
        Ok(Self::of(spec, layout, optimizer, Position::default()))
    }

    /// A trainer with the state and position of a checkpoint.
    ///
    /// # Errors
    /// If the state does not fit the job's optimizer or layout.
    pub fn restore(
        spec: &JobSpec,
        description: &JobDescription,
        state: OptimizerState,
        position: Position,
    ) -> Result<Self, StartError> {
        let layout = Arc::new(description.layout.clone());
        let optimizer = Optimizer::restore(&spec.optimizer, spec.seed, Arc::clone(&layout), state)
            .map_err(|error| StartError(format!("checkpoint: {error}")))?;
        Ok(Self::of(spec, layout, optimizer, position))
    }

    fn of(spec: &JobSpec, layout: Arc<Layout>, optimizer: Optimizer, position: Position) -> Self {
        Self { layout, optimizer, format: spec.train.exchange, position, slow_digests: None }
    }

    /// Position of the current outer step, or of the next one between two.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Number of parameters of the model.
    pub fn parameters(&self) -> usize {
        self.optimizer.slow().len()
    }

    /// Sets the position, after an outer step.
    pub fn set_position(&mut self, position: Position) {
        self.position = position;
    }

    /// The slow weights and running statistics.
    pub fn slow(&self) -> Weights {
        ModelState {
            parameters: Arc::clone(self.optimizer.slow()),
            statistics: Arc::clone(self.optimizer.statistics()),
        }
    }

    /// The state of the optimizer for a checkpoint.
    pub fn state(&self) -> OptimizerState {
        self.optimizer.state()
    }

    /// Computes one step. Takes as long as reading the weights a few times. With `blocks`, the digests of these
    /// blocks of new weights are computed as well.
    pub fn advance(mut self: Box<Self>, input: Input, blocks: Option<Blocks>) -> Advance {
        let begun = Instant::now();
        let mut reduction = 0.0;
        let (sums, outcome) = match input {
            Input::Begin { batches, learning_rate } => {
                let request = self.optimizer.begin(batches, learning_rate);
                (None, self.needs(request, blocks))
            }
            Input::Gradient { shards, parts, ranges } => {
                let total = self.sum(shards, parts, ranges);
                reduction = begun.elapsed().as_secs_f64();
                match total {
                    Ok(total) => self.absorb(total, blocks),
                    Err(error) => (None, Outcome::Failed(error.to_string())),
                }
            }
        };
        Advance { trainer: self, seconds: begun.elapsed().as_secs_f64(), reduction, sums, outcome }
    }

    /// The partial of the whole batch.
    fn sum(
        &self,
        shards: u32,
        mut parts: BTreeMap<Segment, Partial>,
        ranges: Option<RangeParts>,
    ) -> Result<Partial, MissingShard> {
        let root = Segment::root(shards);
        let mut total = reduce::<MissingShard>(root, self.format, &mut |segment| Ok(parts.remove(&segment)))?;
        if let Some(ranges) = ranges {
            let RangeParts { blocks, ranges } = ranges;
            let mut values = blocks.flat_lengths().map(FlatBuffer::zeros);
            for (range, mut parts) in ranges {
                let part = reduce::<MissingShard>(root, self.format, &mut |segment| {
                    let part = parts.remove(&segment);
                    Ok(part.map(|ModelState { parameters: gradient, statistics }| Partial {
                        gradient,
                        statistics,
                        ..Partial::default()
                    }))
                })?;
                let elements = blocks.elements(range);
                values.parameters[elements.parameters].copy_from_slice(&part.gradient);
                values.statistics[elements.statistics].copy_from_slice(&part.statistics);
            }
            ModelState { parameters: total.gradient, statistics: total.statistics } = values;
        }
        Ok(total)
    }

    /// What the optimizer needs next: a gradient.
    fn needs(&mut self, request: GradientRequest, blocks: Option<Blocks>) -> Outcome {
        let weights = self.weights_of_request();
        let is_slow = Arc::ptr_eq(&weights.parameters, self.optimizer.slow());
        let known = self.slow_digests.take().filter(|(of, _)| is_slow && blocks == Some(*of));
        let digests = match known {
            Some((_, digests)) => digests,
            None => digests_of(&weights, blocks),
        };
        Outcome::Gradient(request, weights, digests)
    }

    /// The end of an outer step.
    fn finish(&mut self, report: OuterStepReport, blocks: Option<Blocks>) -> Outcome {
        let digests = digests_of(&self.slow(), blocks);
        self.slow_digests = blocks.map(|blocks| (blocks, Arc::clone(&digests)));
        Outcome::Finished(report, self.digest(), digests)
    }

    fn absorb(&mut self, total: Partial, blocks: Option<Blocks>) -> (Option<Sums>, Outcome) {
        let sums = total.sums;
        let next = match sums.visits {
            Some(_) => self.optimizer.absorb_visits(&total),
            None => self.optimizer.absorb(total.gradient, &total.statistics),
        };
        let outcome = match (next, sums.not_finite()) {
            (Err(error @ AbsorbError::NonFinite { .. }), _) => Outcome::Diverged(self.diverged(&error)),
            (Err(error), _) => Outcome::Failed(error.to_string()),
            (Ok(_), Some((what, value))) => Outcome::Diverged(format!("the {what} is {value}")),
            (Ok(Next::Gradient(request)), None) => self.needs(request, blocks),
            (Ok(Next::Finished(report)), None) => self.finish(report, blocks),
        };
        (Some(sums), outcome)
    }

    /// Why the job cannot continue: a value is not finite.
    fn diverged(&self, error: &AbsorbError) -> String {
        match self.format {
            ExchangeFormat::F32 => error.to_string(),
            // The sum of finite gradients may be infinite only after it was rounded.
            format => format!("{error}; gradients are added in {} (train.exchange)", format.as_str()),
        }
    }

    /// The digest is computed here, with the arithmetic: so records that wait for a slow disk hold no weights.
    fn digest(&self) -> Digest {
        weights_digest(&self.layout, &self.slow())
    }

    /// The weights at which the optimizer needs the gradient.
    fn weights_of_request(&self) -> Weights {
        ModelState {
            parameters: self.optimizer.weights(),
            statistics: Arc::clone(self.optimizer.statistics()),
        }
    }
}

/// The digests of the blocks of weights; none without blocks.
fn digests_of(weights: &Weights, blocks: Option<Blocks>) -> Arc<[BlockDigest]> {
    blocks.map(|blocks| blocks.digests(weights.values())).unwrap_or_default().into()
}
