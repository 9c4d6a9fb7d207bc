//! Position embeddings of a vision transformer for another number of patches.
//!
//! The patches' positions are resampled as an image of d channels, bicubic with antialiasing, as timm's
//! `resample_abs_pos_embed` does: separable, with the kernel of Keys ("Cubic convolution interpolation for digital image
//! processing", IEEE TASSP 29(6), 1981) with a = −1/2, stretched by the factor by which the square shrinks. Positions of
//! other tokens stay.

use super::ImportError;
use super::values::Values;

/// Half of the kernel's width.
const REACH: f64 = 2.0;

/// Position embeddings [1, `tokens` + n², d] as [1, `tokens` + m², d], the shape that is wanted.
///
/// # Errors
/// If the patches are not a square in both, or the embedding dimensions differ.
pub(super) fn resampled(values: &Values, wanted: &[usize], tokens: usize) -> Result<Values, ImportError> {
    let (&[1, found_positions, found_dim], &[1, positions, dim]) = (values.shape.as_slice(), wanted) else {
        return Err(refused(values, wanted, tokens));
    };
    let side = |positions: usize| {
        let patches = positions.checked_sub(tokens)?;
        let side = patches.isqrt();
        (side > 0 && side * side == patches).then_some(side)
    };
    let (Some(from), Some(to), true) = (side(found_positions), side(positions), dim == found_dim) else {
        return Err(refused(values, wanted, tokens));
    };
    let (kept, patches) = values.elements.split_at(tokens * dim);
    let rows = along(patches, [1, from, from * dim], to); // [to, from, d]
    let grid = along(&rows, [to, from, dim], to); // [to, to, d]
    Ok(Values { shape: wanted.to_vec(), elements: [kept, &grid].concat() })
}

fn refused(values: &Values, wanted: &[usize], tokens: usize) -> ImportError {
    let dim = wanted.last().copied().unwrap_or(0);
    ImportError::Positions { tokens, dim, wanted: wanted.to_vec(), found: values.shape.clone() }
}

/// Resamples the middle dimension of `[outer, from, inner]` to `to` places.
fn along(x: &[f32], [outer, from, inner]: [usize; 3], to: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(outer * to * inner);
    for block in x.chunks_exact(from * inner) {
        for place in 0..to {
            let (first, weights) = weights(place, from, to);
            let rows = &block[first * inner..];
            out.extend((0..inner).map(|column| {
                let terms =
                    weights.iter().enumerate().map(|(row, w)| w * f64::from(rows[row * inner + column]));
                terms.sum::<f64>() as f32
            }));
        }
    }
    out
}

/// The first place that contributes to a new one, and the weights from there on, which add up to 1.
fn weights(place: usize, from: usize, to: usize) -> (usize, Vec<f64>) {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let (centre, reach) = (scale * (place as f64 + 0.5), REACH * stretch);
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(from);
    let kernels = (first..end).map(|at| kernel((at as f64 - centre + 0.5) / stretch));
    let mut weights: Vec<f64> = kernels.collect();
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= total);
    (first, weights)
}

/// Keys' cubic kernel with a = −1/2 (equation 15).
fn kernel(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < REACH => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}
