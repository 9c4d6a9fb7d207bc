//! Adaptive interpolation of the slow weights at the end of an outer step.

use super::blocks::{Block, cut_fields, for_each_block};
use super::elementwise;
use crate::flat_buffer::FlatBuffer;

/// Lower bound for the length of a movement in a cosine. It avoids a division by zero: a movement of length 0 gives a
/// cosine of 0.
const MIN_NORM: f64 = 1e-8;

/// The factors of an interpolation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interpolated {
    /// Their mean over the tensors.
    pub(super) mean: f64,
    /// The least and the greatest, if each tensor has its own.
    pub(super) range: Option<[f64; 2]>,
}

impl Interpolated {
    /// One factor for all tensors.
    pub(super) fn with(alpha: f64) -> Self {
        Self { mean: alpha, range: None }
    }

    /// A factor for each tensor.
    pub(super) fn with_each(alphas: &[f64]) -> Self {
        let least = alphas.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = alphas.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = alphas.iter().sum::<f64>() / alphas.len() as f64;
        Self { mean, range: Some([least, greatest]) }
    }
}

/// Sums from which an angle is computed: ‖x‖², ‖y‖², x·y.
pub(super) type AngleSums = [f64; 3];

/// One block's part of the sums for the angle between (first − slow) and (last − slow).
pub(super) fn angle_sums(first: &[f32], last: &[f32], slow: &[f32]) -> AngleSums {
    let dot = elementwise::dot_of_differences;
    [dot(first, first, slow), dot(last, last, slow), dot(first, last, slow)]
}

/// Adaptive α of each tensor: (cos θ + 1) / 2, where θ is the angle between the first and the last movement of the fast
/// weights away from the slow ones (Mordido et al., ICML 2024).
pub(super) fn adaptive_alphas(blocks: &[Block], sums: &[AngleSums]) -> Vec<f64> {
    let mut tensors: Vec<AngleSums> = Vec::new();
    for (block, sums) in blocks.iter().zip(sums) {
        // Blocks are in the order of the tensors, and each tensor has at least one.
        if block.tensor == tensors.len() {
            tensors.push(AngleSums::default());
        }
        tensors[block.tensor].iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    tensors.into_iter().map(alpha).collect()
}

fn alpha([xx, yy, xy]: AngleSums) -> f64 {
    let cosine = xy / (xx.sqrt().max(MIN_NORM) * yy.sqrt().max(MIN_NORM));
    (cosine + 1.0) / 2.0
}

struct Arrays<'a> {
    weights: &'a mut [f32],
    slow: &'a [f32],
}

cut_fields!(Arrays { weights, slow });

/// Turns the last fast weights into the new slow weights, with one factor for each tensor.
pub(super) fn interpolate_tensors(
    blocks: &[Block],
    weights: &mut FlatBuffer,
    slow: &FlatBuffer,
    alphas: &[f64],
) {
    for_each_block(blocks, Arrays { weights, slow }, &|block, arrays: Arrays<'_>| {
        elementwise::interpolate(arrays.weights, arrays.slow, alphas[block.tensor] as f32);
    });
}

#[cfg(test)]
mod tests;
