//! Initial values of tensors from keyed randomness. The initialisers are those of the tensor library, but its random
//! generator is never used.

use candle_core::Shape;
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
use lookbehind_common::layout::{TensorEntry, TensorKind};
use lookbehind_common::random::Key;

/// Fills a tensor of the given shape by its initialiser, in row-major order.
pub(super) fn fill(init: Init, shape: &[usize], key: Key, target: &mut [f32]) {
    match init {
        Init::Const(value) => target.fill(value as f32),
        Init::Uniform { lo, up } => uniform(lo, up, key, target),
        Init::Randn { mean, stdev } => normal(mean, stdev, key, target),
        // He et al., "Delving deep into rectifiers", ICCV 2015, equations 10 and 14.
        Init::Kaiming { dist, fan, non_linearity } => {
            let fan = fan.for_shape(&Shape::from(shape));
            let stdev = non_linearity.gain() / (fan as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => normal(0.0, stdev, key, target),
                NormalOrUniform::Uniform => uniform(-stdev * 3_f64.sqrt(), stdev * 3_f64.sqrt(), key, target),
            }
        }
    }
}

/// Fills a tensor for the probe: parameters keep the magnitude of a layer's output near that of its input and are never
/// constant; running statistics are positive, so that they can be variances.
pub(super) fn fill_probe(entry: &TensorEntry, key: Key, target: &mut [f32]) {
    match entry.spec.kind {
        TensorKind::RunningStatistic => uniform(0.5, 1.5, key, target),
        TensorKind::Parameter => {
            let fan_in: usize = entry.spec.shape.iter().skip(1).product();
            let bound = (3.0 / fan_in as f64).sqrt();
            uniform(-bound, bound, key, target);
        }
    }
}

fn uniform(low: f64, high: f64, key: Key, target: &mut [f32]) {
    let mut stream = key.stream();
    target.fill_with(|| stream.uniform_between(low as f32, high as f32));
}

fn normal(mean: f64, stdev: f64, key: Key, target: &mut [f32]) {
    let mut stream = key.stream();
    target.fill_with(|| mean as f32 + stdev as f32 * stream.normal());
}

#[cfg(test)]
mod tests;
