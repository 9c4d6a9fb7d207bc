//! The elementwise arithmetic and the sums of the optimizer family, on plain slices.
//!
//! Only + − × ÷ √ on f32 elements and f64 sums are used, in a fixed order: no fused multiply-add, and nothing that
//! depends on threads or on the width of vector registers. IEEE 754 defines the result of these operations exactly, so
//! the same gradients give the same weights on every coordinator. This is necessary because the coordinator's machine
//! is not part of a job's compute class. All slices that one function takes must have the same length. The loops are
//! simple enough for the compiler to vectorise them.

mod adaptive;

use rayon::prelude::*;

pub use self::adaptive::{AdamStep, LionStep, adam, adamw, lion};

/// Elements per task. Arrays of at most this size stay on the caller's thread, because waking another thread takes as
/// long as going through this many elements.
pub(super) const GRAIN: usize = 1 << 17;

/// Partial sums of one sum: element i is added to partial sum i mod 16, so that the compiler can keep the partial sums
/// in vector registers of any width without changing a bit of the result.
const LANES: usize = 16;

/// `left += right`, on all threads.
pub fn add_assign(left: &mut [f32], right: &[f32]) {
    debug_assert_eq!(left.len(), right.len());
    let add = |(left, right): (&mut [f32], &[f32])| {
        for (left, right) in left.iter_mut().zip(right) {
            *left += right;
        }
    };
    if left.len() <= GRAIN {
        return add((left, right));
    }
    left.par_chunks_mut(GRAIN).zip(right.par_chunks(GRAIN)).for_each(add);
}

/// `‖x‖²`. Squares of f32 values neither overflow nor round in f64, so the sum is finite exactly if all values are.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    sum(values, values, values, |x, _, _| x * x)
}

/// `‖T x‖²` with T = |w| + η.
pub fn scaled_sum_of_squares(values: &[f32], weights: &[f32], eta: f64) -> f64 {
    sum(values, weights, weights, |x, w, _| {
        let scaled = (w.abs() + eta) * x;
        scaled * scaled
    })
}

/// `(x − o) · (y − o)`.
pub fn dot_of_differences(x: &[f32], y: &[f32], origin: &[f32]) -> f64 {
    sum(x, y, origin, |x, y, o| (x - o) * (y - o))
}

/// Sums a term over three slices into [`LANES`] partial sums, which are then added in order.
fn sum(x: &[f32], y: &[f32], z: &[f32], term: impl Fn(f64, f64, f64) -> f64) -> f64 {
    let term = |x: &f32, y: &f32, z: &f32| term(f64::from(*x), f64::from(*y), f64::from(*z));
    let mut lanes = [0.0; LANES];
    let ((x, x_rest), (y, y_rest), (z, z_rest)) =
        (x.as_chunks::<LANES>(), y.as_chunks::<LANES>(), z.as_chunks::<LANES>());
    for ((x, y), z) in x.iter().zip(y).zip(z) {
        for lane in 0..LANES {
            lanes[lane] += term(&x[lane], &y[lane], &z[lane]);
        }
    }
    for (lane, ((x, y), z)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest).zip(z_rest)) {
        *lane += term(x, y, z);
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane)
}

/// Ascent of plain SAM: `w += s·g`.
pub fn ascend(weights: &mut [f32], gradient: &[f32], scale: f32) {
    for (w, g) in weights.iter_mut().zip(gradient) {
        *w += scale * g;
    }
}

/// Ascent of adaptive SAM: `w += s·T²·g` with T = |w| + η.
pub fn ascend_scaled(weights: &mut [f32], gradient: &[f32], scale: f32, eta: f32) {
    for (w, g) in weights.iter_mut().zip(gradient) {
        let t = w.abs() + eta;
        *w += scale * g * t * t;
    }
}

/// Interpolation `w = o + α (w − o)`.
pub fn interpolate(weights: &mut [f32], origin: &[f32], alpha: f32) {
    for (w, o) in weights.iter_mut().zip(origin) {
        *w = o + alpha * (*w - o);
    }
}

/// Running average: `r = (1 − m)·r + m·x`.
pub fn average(running: &mut [f32], values: &[f32], momentum: f64) {
    let (keep, take) = ((1.0 - momentum) as f32, momentum as f32);
    for (r, x) in running.iter_mut().zip(values) {
        *r = keep * *r + take * x;
    }
}

/// Factors of one step of stochastic gradient descent.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f32,
    /// Momentum μ.
    pub momentum: f32,
    /// Weight decay λ; λ times the weights is added to the gradient.
    pub weight_decay: f32,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
}

/// Gradient descent without momentum: `w −= lr (g + λw)`.
pub fn sgd(weights: &mut [f32], gradient: &[f32], step: SgdStep) {
    for (w, g) in weights.iter_mut().zip(gradient) {
        *w -= step.lr * (g + step.weight_decay * *w);
    }
}

/// Gradient descent with momentum: `d = g + λw`, `b = μb + d`, `w −= lr b`, with Nesterov `w −= lr (d + μb)`.
pub fn sgd_with_momentum(weights: &mut [f32], gradient: &[f32], momentum: &mut [f32], step: SgdStep) {
    let mu = step.momentum;
    for ((w, g), b) in weights.iter_mut().zip(gradient).zip(momentum) {
        let d = g + step.weight_decay * *w;
        *b = mu * *b + d;
        *w -= step.lr * if step.nesterov { d + mu * *b } else { *b };
    }
}

#[cfg(test)]
mod tests;
