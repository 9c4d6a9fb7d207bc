//! The optimizer family as a pure state machine over flat buffers.
//!
//! The algorithms are in `methods`, one file each; `methods/lookbehind.rs`, for example, follows the paper line by
//! line. The arithmetic is in `elementwise`.
//!
//! [`Optimizer::begin`] begins an outer step and returns a request for the first gradient. [`Optimizer::absorb`] takes
//! a gradient and returns a request for the next one, until the outer step is finished. The caller computes the
//! gradients. If the shards of a batch climb by themselves (`perturbation = "shard"`), each request is for all gradients
//! of their paths, and [`Optimizer::absorb_visits`] takes their sum.
//!
//! The weights at which to compute are published as `Arc`s and are not written while a caller holds them. A caller that
//! drops them before the next [`Optimizer::absorb`] saves the optimizer one buffer of the model's size.

mod base;
mod blocks;
mod buffers;
mod check;
mod climb;
mod communication;
pub mod elementwise;
mod interpolation;
mod mean;
mod messages;
mod methods;
mod moves;
mod outer_step;
mod state;
mod statistics;
mod trained;
mod update;
mod visit;
mod weights;

use std::borrow::Cow;
use std::sync::Arc;

pub use self::climb::{Climb, VisitPartial};
pub use self::communication::Communication;
pub use self::messages::{AbsorbError, GradientRequest, Next, OuterStepReport};
pub use self::methods::{gradients_per_outer_step, requests_per_outer_step};
pub use self::state::{OptimizerState, StateError};
pub use self::trained::gradient_layout;
pub use self::visit::{ClimbOrder, Visit, partial_lengths};

use self::base::{Base, buffer_names};
use self::blocks::{Block, blocks_of};
use self::buffers::Pool;
use self::check::Check;
use self::mean::Mean;
use self::methods::{GradientSchedule, WeightSet, direction};
use self::outer_step::OuterStep;
use self::statistics::RunningStatistics;
use self::trained::Trained;
use self::update::{Ascent, Norms, norms, update};
use self::weights::Weights;
use crate::flat_buffer::FlatBuffer;
use crate::job::{self, Method, OptimizerSpec, Perturbation, TensorRule};
use crate::layout::Layout;
use crate::model_state::ModelState;

/// A job's optimizer: weights, running statistics and the base optimizer's state.
#[derive(Debug)]
pub struct Optimizer {
    method: Method,
    /// The ascents that it takes itself: none if the shards climb by themselves.
    ascent: Option<job::Ascent>,
    /// The visits that it asks for in place of single gradients.
    visit: Option<Visit>,
    layout: Arc<Layout>,
    trained: Trained,
    blocks: Vec<Block>,
    /// The kinds of tensors that descend in different ways.
    kinds: Vec<TensorRule>,
    /// Norm to which the gradients of descents are clipped.
    clip_norm: Option<f64>,
    weights: Weights,
    statistics: RunningStatistics,
    base: Base,
    pool: Pool,
    /// The job's seed.
    seed: u64,
    step: Option<OuterStep>,
    /// Gradients of the outer step that descend together with its last one.
    mean: Mean,
}

impl Optimizer {
    /// The optimizer of a new job with these initial weights and running statistics. The job's seed keys random
    /// perturbations.
    ///
    /// # Errors
    /// If a flat buffer does not have the layout's length, or the job's groups do not fit the layout.
    pub fn new(
        spec: &OptimizerSpec,
        seed: u64,
        layout: Arc<Layout>,
        weights: ModelState<FlatBuffer>,
    ) -> Result<Self, StateError> {
        Self::restore(spec, seed, layout, OptimizerState::initial(&spec.base, weights))
    }

    /// The optimizer of a job that continues from a state.
    ///
    /// # Errors
    /// If the state lacks a buffer, has an unknown one, a flat buffer does not have the layout's length, or the job's groups
    /// do not fit the layout.
    pub fn restore(
        spec: &OptimizerSpec,
        seed: u64,
        layout: Arc<Layout>,
        state: OptimizerState,
    ) -> Result<Self, StateError> {
        spec.groups.check(&layout, spec.method.parts().ascent.is_some())?;
        state.check(&spec.base, &layout)?;
        let OptimizerState { weights, mut buffers, steps } = state;
        let buffers = buffer_names(&spec.base).iter().filter_map(|&name| buffers.remove(name));
        let (blocks, kinds) = blocks_of(&layout, &spec.groups);
        Ok(Self {
            method: spec.method,
            ascent: spec.method.parts().ascent.filter(|ascent| ascent.perturbation == Perturbation::Global),
            visit: Visit::of(&spec.method),
            trained: Trained::new(spec, &layout),
            blocks,
            kinds,
            clip_norm: spec.clip_norm,
            layout,
            weights: Weights::new(weights.parameters),
            statistics: RunningStatistics { values: weights.statistics, counted: spec.batch_statistics },
            base: Base::new(spec.base, buffers, steps),
            pool: Pool::default(),
            seed,
            step: None,
            mean: Mean::default(),
        })
    }

    /// The state from which [`Optimizer::restore`] continues. Must be called between outer steps only: during one, the
    /// buffers hold neither the state before nor the state after it.
    pub fn state(&self) -> OptimizerState {
        debug_assert!(self.step.is_none());
        OptimizerState {
            weights: ModelState {
                parameters: Arc::clone(&self.weights.slow),
                statistics: Arc::clone(&self.statistics.values),
            },
            buffers: self
                .base
                .buffers()
                .map(|(name, flat_buffer)| (name.to_owned(), Arc::clone(flat_buffer)))
                .collect(),
            steps: self.base.steps(),
        }
    }

    /// The slow weights after the last outer step.
    pub fn slow(&self) -> &Arc<FlatBuffer> {
        &self.weights.slow
    }

    /// The running statistics after the last gradient.
    pub fn statistics(&self) -> &Arc<FlatBuffer> {
        &self.statistics.values
    }

    /// The weights at which to compute the gradient that was requested last; between outer steps, the slow weights.
    pub fn weights(&self) -> Arc<FlatBuffer> {
        let weights = self.step.as_ref().map(|step| self.weights.at(step.gradient().at));
        Arc::clone(weights.unwrap_or(&self.weights.slow))
    }

    /// Begins an outer step with the learning rate `lr` and requests its first gradient. A method with a batch for each
    /// inner step does as many inner steps as `batches` are left in the epoch, at most k; other methods use one batch.
    /// If an outer step has begun before, it continues and the arguments are ignored.
    ///
    /// # Panics
    /// If `batches` is 0 and the method has a batch for each inner step.
    pub fn begin(&mut self, batches: u32, lr: f64) -> GradientRequest {
        if let Some(step) = &self.step {
            return step.request();
        }
        if let Method::Rwp { rho } = self.method {
            self.perturb(rho);
        }
        self.step.insert(OuterStep::new(GradientSchedule::new(&self.method, batches), lr)).request()
    }

    /// Moves the perturbed weights from the slow ones in a random direction: an ascent along a gradient that is drawn.
    fn perturb(&mut self, rho: f64) {
        let ascent = job::Ascent { rho, eta: None, perturbation: Perturbation::Global };
        let drawn = direction(&self.layout, self.seed, self.base.steps());
        let norms = norms(&self.blocks, &drawn, &drawn, None);
        let mut perturbed = self.weights.open_perturbed(WeightSet::Fast, &mut self.pool);
        update(&self.blocks, &drawn, Some(Ascent::new(&ascent, norms, perturbed.target())), None);
        self.weights.close_perturbed(perturbed);
    }

    /// Takes the gradient that was requested last and the statistics of its batch, both in the [`gradient_layout`], and
    /// returns what follows.
    ///
    /// # Errors
    /// If a value is not finite, a flat buffer does not have the layout's length, or no gradient was requested.
    pub fn absorb(
        &mut self,
        gradient: FlatBuffer,
        batch_statistics: &FlatBuffer,
    ) -> Result<Next, AbsorbError> {
        let mut step = self.requested(false)?;
        let (measured, gradient) = self.measure(&step, &gradient, batch_statistics)?;
        if step.index == 0 {
            step.gradient_norm = measured.plain;
        }
        self.statistics.absorb(step.index, step.gradient(), batch_statistics);
        if step.schedule.is_last(step.index) {
            return self.end(&step, measured, &gradient);
        }
        self.advance(&step, measured, &gradient);
        step.advance();
        Ok(self.ask(step))
    }

    /// The outer step whose last request was for visits, or for a gradient.
    fn requested(&self, visits: bool) -> Result<OuterStep, AbsorbError> {
        let step = self.step.clone().filter(|_| self.visit.is_some() == visits);
        step.ok_or(AbsorbError::NotAskedFor)
    }

    /// Goes on with the outer step.
    fn ask(&mut self, step: OuterStep) -> Next {
        Next::Gradient(self.step.insert(step).request())
    }

    /// Ends the outer step with its last gradient.
    fn end(&mut self, step: &OuterStep, measured: Norms, gradient: &[f32]) -> Result<Next, AbsorbError> {
        let mean = self.mean.take(gradient);
        let measured = mean.as_ref().map_or(measured, |mean| norms(&self.blocks, mean, mean, None));
        let alpha = self.finish(step, measured, mean.as_deref().unwrap_or(gradient));
        self.step = None;
        let slow = &self.weights.slow;
        let check = Check { gradient: step.index, layout: &self.layout };
        check.weights(norms(&self.blocks, slow, slow, None).plain, slow)?;
        Ok(Next::Finished(step.report(&alpha)))
    }

    /// Checks a gradient and computes its norms. Returns it with a place for every parameter.
    fn measure<'a>(
        &self,
        step: &OuterStep,
        gradient: &'a [f32],
        batch_statistics: &[f32],
    ) -> Result<(Norms, Cow<'a, [f32]>), AbsorbError> {
        let check = Check { gradient: step.index, layout: &self.trained.gradients };
        check.lengths(gradient, batch_statistics)?;
        let eta = self.ascent.filter(|_| step.gradient().ascends).and_then(|ascent| ascent.eta);
        let spread = self.trained.spread(gradient);
        let norms = norms(&self.blocks, &spread, self.weights.at(step.gradient().at), eta);
        check.finite(norms.plain, gradient, batch_statistics)?;
        Ok((norms, spread))
    }
}

#[cfg(test)]
mod tests;
