//! The ascent to the worst weights within a radius. It asks for loss and gradient at one point after the other; whoever
//! computes them knows nothing of the ascent.

use super::SharpnessMeasure;
use super::projection::{Ball, norm};
use crate::flat_buffer::FlatBuffer;

/// Added to norms of gradients that are divided by.
const NORM_OFFSET: f64 = 1e-12;
/// Share of the new point in a step of APGD; the rest is that of the point before the last one.
const MOMENTUM: f64 = 0.75;
/// APGD halves its step where fewer than this share of the steps since the last checkpoint gave a new worst loss.
const PROGRESS: f64 = 0.75;

/// An ascent of one m-batch.
///
/// | measure | step | where from |
/// | --- | --- | --- |
/// | `one_step` | w + ρ g / (‖g‖ + 1e-12) | Foret et al., "Sharpness-aware minimization", ICLR 2021, equation 2 |
/// | `worst_l2` | 2.5 ρ / steps along g / ‖g‖, projected on ‖δ‖ ≤ ρ | Madry et al., ICLR 2018, section 4 |
/// | `worst_adaptive_*` | APGD as the code of Andriushchenko et al. (ICML 2023) has it | tml-epfl/sharpness-vs-generalization |
///
/// APGD here keeps what distinguishes that code from the published rule: δ ← ¾ P(δ + s·direction) + ¼ δ₋, with δ₋ the δ
/// before the last; and where the step is halved, the next gradient is that of the worst weights so far, while δ goes on
/// from where it is.
#[derive(Clone, Debug)]
pub struct WorstCase {
    measure: SharpnessMeasure,
    radius: f64,
    steps: u32,
    start: FlatBuffer,
    /// δ and the δ before the last step.
    offset: Vec<f32>,
    before: Vec<f32>,
    /// start + δ.
    point: FlatBuffer,
    /// Points whose losses are known, the start included.
    known: u32,
    worst: Worst,
    step: f64,
    halving: Halving,
}

/// The worst point so far.
#[derive(Clone, Debug)]
struct Worst {
    loss: f64,
    correct: u64,
    /// Its gradient, which APGD returns to; empty for other measures.
    gradient: Vec<f32>,
}

/// When APGD halves its step.
#[derive(Clone, Debug)]
struct Halving {
    checkpoints: Vec<u32>,
    /// The last checkpoint that was passed, and new worst losses since.
    last: u32,
    improved: u32,
    /// Step and worst loss at the last checkpoint.
    step: f64,
    worst: f64,
}

impl WorstCase {
    /// An ascent from the parameters `start` within `radius`, of `steps` steps; one step if the measure has only one.
    pub fn new(measure: SharpnessMeasure, radius: f64, steps: u32, start: FlatBuffer) -> Self {
        let steps = if measure == SharpnessMeasure::OneStep { 1 } else { steps.max(1) };
        let step = match measure {
            SharpnessMeasure::OneStep => radius,
            SharpnessMeasure::WorstL2 => 2.5 * radius / f64::from(steps),
            _ => 2.0 * radius,
        };
        let zeros = vec![0.0; start.len()];
        let worst = Worst { loss: f64::NEG_INFINITY, correct: 0, gradient: Vec::new() };
        let checkpoints = checkpoints(steps);
        let halving = Halving { checkpoints, last: 0, improved: 0, step, worst: 0.0 };
        let (offset, before, point) = (zeros.clone(), zeros, start.clone());
        Self { measure, radius, steps, start, offset, before, point, known: 0, worst, step, halving }
    }

    /// Gradients that an ascent takes, and forward passes without one.
    pub fn cost(measure: SharpnessMeasure, steps: u32) -> (u64, u64) {
        let steps = if measure == SharpnessMeasure::OneStep { 1 } else { steps.max(1) };
        (steps.into(), 1)
    }

    /// The parameters at which loss and gradient are wanted next.
    pub fn point(&self) -> &[f32] {
        &self.point
    }

    /// Whether the gradient at [`Self::point`] is wanted, and not the loss alone.
    pub fn wants_gradient(&self) -> bool {
        self.known < self.steps
    }

    /// Takes mean loss, correct predictions and gradient at [`Self::point`]; the gradient may be empty if it is not
    /// wanted. Returns the loss at the worst point and its correct predictions once the ascent has ended.
    pub fn absorb(&mut self, loss: f64, correct: u64, gradient: &[f32]) -> Option<(f64, u64)> {
        let first = self.known == 0;
        // `one_step` is the loss after the step, whether or not it is greater.
        let one_step = self.measure == SharpnessMeasure::OneStep;
        // A loss that is not a number is worse than any other.
        let worse = !self.worst.loss.is_nan() && (loss.is_nan() || loss > self.worst.loss);
        if worse || one_step {
            let keeps = self.measure.normalises_logits() && self.wants_gradient();
            let gradient = if keeps { gradient.to_vec() } else { Vec::new() };
            self.worst = Worst { loss, correct, gradient };
        }
        if first {
            self.halving.worst = loss;
        }
        self.known += 1;
        if self.known > self.steps {
            return Some((self.worst.loss, self.worst.correct));
        }
        if !self.measure.normalises_logits() {
            self.climb(gradient);
            return None;
        }
        if !first {
            self.halving.improved += u32::from(worse);
            if self.halves() {
                self.step /= 2.0;
                let worst = std::mem::take(&mut self.worst.gradient);
                self.climb(&worst);
                self.worst.gradient = worst;
                return None;
            }
        }
        self.climb(gradient);
        None
    }

    /// Whether the step is to be halved now, after step number `known − 2` from 0.
    fn halves(&mut self) -> bool {
        let done = self.known - 2;
        let Halving { checkpoints, last, improved, step, worst } = &mut self.halving;
        if !checkpoints.contains(&done) {
            return false;
        }
        let few = f64::from(*improved) < PROGRESS * f64::from(done - *last);
        let nothing_changed = *step == self.step && *worst == self.worst.loss;
        (*last, *improved, *step, *worst) = (done, 0, self.step, self.worst.loss);
        few || nothing_changed
    }

    /// Moves the point along a gradient.
    fn climb(&mut self, gradient: &[f32]) {
        let length = norm(gradient.iter().map(|&g| f64::from(g))) + NORM_OFFSET;
        let scale = self.step / length;
        let ball = match self.measure {
            SharpnessMeasure::WorstAdaptiveL2 => Ball::Ellipsoid,
            SharpnessMeasure::WorstAdaptiveLinf => Ball::Box,
            _ => Ball::Sphere,
        };
        let mut moved: Vec<f64> = self.offset.iter().map(|&offset| f64::from(offset)).collect();
        for ((offset, gradient), start) in moved.iter_mut().zip(gradient).zip(self.start.iter()) {
            let (gradient, size) = (f64::from(*gradient), f64::from(start.abs()));
            *offset += match ball {
                Ball::Sphere => scale * gradient,
                Ball::Ellipsoid => scale * gradient * size,
                Ball::Box if gradient == 0.0 => 0.0,
                Ball::Box => self.step * gradient.signum() * size,
            };
        }
        if self.measure != SharpnessMeasure::OneStep {
            ball.project(&mut moved, &self.start, self.radius);
        }
        let mixes = self.measure.normalises_logits();
        let old = self.offset.iter_mut().zip(&mut self.before);
        for (((offset, before), moved), (point, start)) in
            old.zip(moved).zip(self.point.iter_mut().zip(self.start.iter()))
        {
            let mixed = if mixes { MOMENTUM * moved + (1.0 - MOMENTUM) * f64::from(*before) } else { moved };
            (*before, *offset) = (*offset, mixed as f32);
            *point = (f64::from(*start) + f64::from(*offset)) as f32;
        }
    }
}

/// After which steps, from 0, APGD asks whether to halve: at 22 % of the steps, then after gaps that shrink by 3 % to 6 %.
/// With that code's roundings, which decide whether 70 % of 20 steps are 14 or 15 of them.
fn checkpoints(steps: u32) -> Vec<u32> {
    let (mut places, mut before, mut last) = (Vec::new(), 0.0_f64, 0.22_f64);
    loop {
        let step = (last * f64::from(steps)).ceil() as u32;
        if step >= steps || places.last() == Some(&step) {
            return places;
        }
        places.push(step);
        (before, last) = (last, last + (last - before - 0.03).max(0.06));
    }
}

#[cfg(test)]
mod tests;
