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
    /// Their mean over the tensors that are perturbed.
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
    fn with_each(alphas: &[f64]) -> Self {
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

/// Adaptive interpolation factors.
pub(super) struct Alphas {
    /// Of each tensor: (cos θ + 1) / 2, where θ is the angle between the first and the last movement of the fast weights
    /// away from the slow ones (Mordido et al., ICML 2024). A tensor that is not perturbed has the mean of the others.
    pub(super) of_tensors: Vec<f64>,
    /// Those of the tensors that are perturbed, together.
    pub(super) summary: Interpolated,
}

impl Alphas {
    pub(super) fn new(blocks: &[Block], sums: &[AngleSums]) -> Self {
        let mut tensors: Vec<(bool, AngleSums)> = Vec::new();
        for (block, sums) in blocks.iter().zip(sums) {
            // Blocks are in the order of the tensors, and each tensor has at least one.
            if block.tensor == tensors.len() {
                tensors.push((block.ascends, AngleSums::default()));
            }
            tensors[block.tensor].1.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let measured: Vec<f64> =
            tensors.iter().filter(|(ascends, _)| *ascends).map(|&(_, sums)| alpha(sums)).collect();
        let summary = Interpolated::with_each(&measured);
        let mut measured = measured.into_iter();
        let of_tensor =
            |(ascends, _)| if ascends { measured.next().unwrap_or(summary.mean) } else { summary.mean };
        Self { of_tensors: tensors.into_iter().map(of_tensor).collect(), summary }
    }
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

/// Turns the last fast weights into the new slow weights, with one factor for each tensor. Frozen ones stay as they are.
pub(super) fn interpolate_tensors(
    blocks: &[Block],
    weights: &mut FlatBuffer,
    slow: &FlatBuffer,
    alphas: &[f64],
) {
    for_each_block(blocks, Arrays { weights, slow }, &|block, arrays: Arrays<'_>| {
        if block.kind.is_some() {
            elementwise::interpolate(arrays.weights, arrays.slow, alphas[block.tensor] as f32);
        }
    });
}

#[cfg(test)]
mod tests;
