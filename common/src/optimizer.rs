//! The optimizer family as a pure state machine over flat buffers.
//!
//! The algorithms themselves, one file each, are in `methods`: `methods/lookbehind.rs` reads as the paper does. The
//! arithmetic is in `elementwise`.
//!
//! [`Optimizer::begin`] opens an outer step and says which gradient is wanted first; [`Optimizer::absorb`] takes a gradient
//! and says which one is wanted next, until the outer step is finished. Where the gradients come from is the caller's
//! business.
//!
//! The weights to compute at are published as `Arc`s and are never written while a caller holds them. A caller that drops
//! them before the next [`Optimizer::absorb`] saves the optimizer one buffer of the model's size.

mod base;
mod blocks;
mod buffers;
mod check;
pub mod elementwise;
mod interpolation;
mod messages;
mod methods;
mod outer_step;
mod state;
mod statistics;
mod update;
mod weights;

use std::sync::Arc;

pub use self::messages::{AbsorbError, GradientRequest, Next, OuterStepReport};
pub use self::methods::gradients_per_outer_step;
pub use self::state::{OptimizerState, StateError};

use self::base::{Base, buffer_names};
use self::blocks::{Block, blocks_of};
use self::buffers::Pool;
use self::check::Check;
use self::interpolation::{adaptive_alphas, interpolate_tensors};
use self::methods::GradientSchedule;
use self::outer_step::OuterStep;
use self::statistics::RunningStatistics;
use self::update::{Ascent, Ending, Norms, OpenDescent, norms, update};
use self::weights::Weights;
use crate::flat_buffer::FlatBuffer;
use crate::job::{self, Alpha, Method, OptimizerSpec};
use crate::layout::Layout;

/// Added to the norm of a gradient, so that a gradient of zero moves nothing.
const NORM_OFFSET: f64 = 1e-16;

/// A job's optimizer: weights, running statistics and the base optimizer's state.
#[derive(Debug)]
pub struct Optimizer {
    method: Method,
    ascent: Option<job::Ascent>,
    layout: Arc<Layout>,
    blocks: Vec<Block>,
    weights: Weights,
    statistics: RunningStatistics,
    base: Base,
    pool: Pool,
    step: Option<OuterStep>,
}

impl Optimizer {
    /// The optimizer of a job that starts at some weights.
    ///
    /// # Errors
    /// When a flat buffer does not have the layout's length.
    pub fn new(
        spec: &OptimizerSpec,
        layout: Arc<Layout>,
        parameters: FlatBuffer,
        statistics: FlatBuffer,
    ) -> Result<Self, StateError> {
        Self::restore(spec, layout, OptimizerState::initial(&spec.base, parameters, statistics))
    }

    /// The optimizer of a job that goes on from a state.
    ///
    /// # Errors
    /// When the state lacks a buffer, has one too many, or a flat buffer does not have the layout's length.
    pub fn restore(
        spec: &OptimizerSpec,
        layout: Arc<Layout>,
        state: OptimizerState,
    ) -> Result<Self, StateError> {
        state.check(&spec.base, &layout)?;
        let OptimizerState { parameters, statistics, mut buffers, steps } = state;
        let buffers = buffer_names(&spec.base).iter().filter_map(|&name| buffers.remove(name));
        Ok(Self {
            method: spec.method,
            ascent: spec.method.parts().ascent,
            blocks: blocks_of(&layout),
            layout,
            weights: Weights::new(parameters),
            statistics: RunningStatistics { values: statistics, counted: spec.batch_statistics },
            base: Base::new(spec.base, buffers, steps),
            pool: Pool::default(),
            step: None,
        })
    }

    /// Everything that is needed to go on from here. Only between outer steps: within one it is neither the
    /// state before nor the one after it.
    pub fn state(&self) -> OptimizerState {
        debug_assert!(self.step.is_none());
        OptimizerState {
            parameters: Arc::clone(&self.weights.slow),
            statistics: Arc::clone(&self.statistics.values),
            buffers: self
                .base
                .buffers()
                .map(|(name, flat_buffer)| (name.to_owned(), Arc::clone(flat_buffer)))
                .collect(),
            steps: self.base.steps(),
        }
    }

    /// Slow weights, as the last outer step left them.
    pub fn slow(&self) -> &Arc<FlatBuffer> {
        &self.weights.slow
    }

    /// Running statistics.
    pub fn statistics(&self) -> &Arc<FlatBuffer> {
        &self.statistics.values
    }

    /// Weights at which the evaluation that was asked for last is to be computed; the slow ones between outer
    /// steps.
    pub fn weights(&self) -> Arc<FlatBuffer> {
        let weights = self.step.as_ref().map(|step| self.weights.at(step.gradient().at));
        Arc::clone(weights.unwrap_or(&self.weights.slow))
    }

    /// Begins an outer step with the learning rate `lr`. A method that takes several batches does one inner
    /// step with each of the `batches` that are left to it, at most k; the others take one. An outer step
    /// that is under way goes on.
    ///
    /// # Panics
    /// When a method that takes several batches gets none.
    pub fn begin(&mut self, batches: u32, lr: f64) -> GradientRequest {
        let begin = || OuterStep::new(GradientSchedule::new(&self.method, batches), lr);
        self.step.get_or_insert_with(begin).request()
    }

    /// Takes the gradient that was asked for last, with the statistics of its batch.
    ///
    /// # Errors
    /// When a number is not finite, a flat buffer does not have the layout's length, or no gradient was asked for.
    pub fn absorb(
        &mut self,
        gradient: FlatBuffer,
        batch_statistics: &FlatBuffer,
    ) -> Result<Next, AbsorbError> {
        let mut step = self.step.clone().ok_or(AbsorbError::NotAskedFor)?;
        let measured = self.measure(&step, &gradient, batch_statistics)?;
        if step.index == 0 {
            step.gradient_norm = measured.plain;
        }
        self.statistics.absorb(step.index, step.gradient(), batch_statistics);
        if step.schedule.is_last(step.index) {
            let alpha = self.finish(&step, &gradient);
            self.step = None;
            let slow = &self.weights.slow;
            let check = Check { gradient: step.index, layout: &self.layout };
            check.weights(norms(&self.blocks, slow, slow, None).plain, slow)?;
            return Ok(Next::Finished(step.report(alpha)));
        }
        self.advance(&step, measured, &gradient);
        step.advance();
        let next = step.request();
        self.step = Some(step);
        Ok(Next::Gradient(next))
    }

    /// Checks a gradient and takes its norms.
    fn measure(
        &self,
        step: &OuterStep,
        gradient: &FlatBuffer,
        batch_statistics: &FlatBuffer,
    ) -> Result<Norms, AbsorbError> {
        let check = Check { gradient: step.index, layout: &self.layout };
        check.lengths(gradient, batch_statistics)?;
        let eta = self.ascent.filter(|_| step.gradient().ascends).and_then(|ascent| ascent.eta);
        let norms = norms(&self.blocks, gradient, self.weights.at(step.gradient().at), eta);
        check.finite(norms.plain, gradient, batch_statistics)?;
        Ok(norms)
    }

    /// Moves perturbed and fast weights as a gradient that is not the last one demands.
    fn advance(&mut self, step: &OuterStep, norms: Norms, gradient: &FlatBuffer) {
        let used = step.gradient();
        let ascent = self.ascent.filter(|_| used.ascends);
        let mut ascending =
            ascent.map(|ascent| (ascent, self.weights.open_perturbed(used.at, &mut self.pool)));
        let mut descending = used.descends.then(|| self.open_descent(step.lr));
        let ascent = ascending.as_mut().map(|(ascent, perturbed)| Ascent {
            perturbed: perturbed.target(),
            scale: (ascent.rho / (norms.scaled + NORM_OFFSET)) as f32,
            eta: ascent.eta.map(|eta| eta as f32),
        });
        update(&self.blocks, gradient, ascent, descending.as_mut().map(|open| open.descent(Ending::Open)));
        if let Some((_, perturbed)) = ascending {
            self.weights.close_perturbed(perturbed);
        }
        if let Some(open) = descending {
            let fast = self.close_descent(open);
            self.weights.set_fast(fast, step.keeps_first());
        }
    }

    /// Takes the last descent of an outer step and interpolates; returns α.
    fn finish(&mut self, step: &OuterStep, gradient: &FlatBuffer) -> f64 {
        let interpolation = step.schedule.interpolation;
        self.weights.prepare_last(interpolation.is_some(), &mut self.pool);
        let mut open = self.open_descent(step.lr);
        let (slow, first) = (&self.weights.slow, self.weights.first());
        let ending = match interpolation {
            None => Ending::Open,
            Some(Alpha::Static(alpha)) => Ending::Interpolate { slow, alpha: alpha as f32 },
            Some(Alpha::Adaptive) => Ending::Measure { slow, first: first.map(|first| &first[..]) },
        };
        let sums = update(&self.blocks, gradient, None, Some(open.descent(ending)));
        let mut weights = self.close_descent(open);
        let alpha = match interpolation {
            None => 1.0,
            Some(Alpha::Static(alpha)) => alpha,
            Some(Alpha::Adaptive) => {
                let alphas = adaptive_alphas(&self.blocks, &sums);
                // Nobody else has seen these weights, so this does not copy them.
                interpolate_tensors(&self.blocks, Arc::make_mut(&mut weights), &self.weights.slow, &alphas);
                alphas.iter().sum::<f64>() / alphas.len() as f64
            }
        };
        self.weights.finish(weights, &mut self.pool);
        alpha
    }

    fn open_descent(&mut self, lr: f64) -> OpenDescent {
        let (rule, buffers) = self.base.begin_step(lr, &mut self.pool);
        OpenDescent { fast: self.weights.open_fast(&mut self.pool), rule, buffers }
    }

    fn close_descent(&mut self, open: OpenDescent) -> Arc<FlatBuffer> {
        self.base.end_step(open.buffers);
        open.fast.finish()
    }
}

#[cfg(test)]
mod tests;
