//! Weights under noise. Draws are keyed by seed, draw, tensor and element, so that all levels of one draw and all models
//! of an evaluation get the same random numbers.

use super::{NoiseKind, SharpnessMeasure};
use crate::flat_buffer::FlatBuffer;
use crate::layout::{Layout, TensorSpec};
use crate::random::{Key, Purpose, Stream};

/// Which random numbers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseDraw {
    /// Seed of the evaluation.
    pub seed: u64,
    /// Number of the draw, from 0.
    pub draw: u32,
}

impl NoiseDraw {
    fn stream(self, purpose: Purpose, tensor: usize) -> Stream {
        Key { layer: tensor as u32, batch: self.draw.into(), ..Key::new(self.seed, purpose) }.stream()
    }
}

/// Whether noise is put on a tensor: on the weights of linear and convolutional layers. These are the tensors named
/// `weight` that have two dimensions or more; normalisation layers' have one.
pub fn is_noisy(spec: &TensorSpec) -> bool {
    spec.shape.len() >= 2 && spec.name.rsplit('.').next() == Some("weight")
}

/// The parameters under noise of a kind and level. At level 0, of a kind that has one, they are the parameters
/// themselves, bit for bit.
pub fn perturb(
    kind: NoiseKind,
    level: f64,
    layout: &Layout,
    parameters: &[f32],
    draw: NoiseDraw,
) -> FlatBuffer {
    let mut noisy = parameters.to_vec();
    for (tensor, entry) in layout.parameter_entries().enumerate().filter(|(_, entry)| is_noisy(&entry.spec)) {
        let values = &mut noisy[entry.range.clone()];
        let greatest = values.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
        let stream = || draw.stream(Purpose::WeightNoise, tensor);
        match kind {
            NoiseKind::Quantize => quantise(values, greatest, level),
            _ if level == 0.0 => {}
            NoiseKind::Multiplicative => add(values, stream(), |value| level * f64::from(value)),
            NoiseKind::RelativeMax => add(values, stream(), |_| level * f64::from(greatest)),
            NoiseKind::Additive => add(values, stream(), |_| level),
        }
    }
    noisy.into()
}

/// w + ρ ξ or, for adaptive measures, w + ρ |w| ξ, on all parameters.
pub fn average_direction(
    measure: SharpnessMeasure,
    radius: f64,
    layout: &Layout,
    parameters: &[f32],
    draw: NoiseDraw,
) -> FlatBuffer {
    use SharpnessMeasure as M;
    let adaptive = matches!(measure, M::AverageAdaptiveL2 | M::AverageAdaptiveLinf);
    let uniform = matches!(measure, M::AverageLinf | M::AverageAdaptiveLinf);
    let mut moved = parameters.to_vec();
    for (tensor, entry) in layout.parameter_entries().enumerate() {
        let mut stream = draw.stream(Purpose::AverageSharpness, tensor);
        for value in &mut moved[entry.range.clone()] {
            let random = if uniform { stream.uniform_between(-1.0, 1.0) } else { stream.normal() };
            let scale = if adaptive { f64::from(value.abs()) } else { 1.0 };
            *value = (f64::from(*value) + radius * scale * f64::from(random)) as f32;
        }
    }
    moved.into()
}

/// Adds scale(w) · ξ to each value w.
fn add(values: &mut [f32], mut stream: Stream, scale: impl Fn(f32) -> f64) {
    for value in values {
        *value = (f64::from(*value) + scale(*value) * f64::from(stream.normal())) as f32;
    }
}

/// Rounds values to multiples of greatest / (2^(bits − 1) − 1), ties to even.
fn quantise(values: &mut [f32], greatest: f32, bits: f64) {
    let steps = libm::exp2(bits - 1.0) - 1.0;
    let step = f64::from(greatest) / steps;
    if step > 0.0 {
        values.iter_mut().for_each(|value| *value = (libm::rint(f64::from(*value) / step) * step) as f32);
    }
}

#[cfg(test)]
mod tests;
