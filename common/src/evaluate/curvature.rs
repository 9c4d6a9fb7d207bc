//! Curvature from products of the Hessian H with vectors: the greatest eigenvalues by the method of Lanczos, the trace by
//! that of Hutchinson.

use super::eigen::symmetric_eigen;
use super::projection::norm;
use crate::random::{Key, Purpose};

/// Relative residual at which an eigenvalue is accurate enough.
const RESIDUAL: f64 = 1e-3;
/// A new direction that is shorter than this share of its product lies in the space that is searched already.
const EXHAUSTED: f64 = 1e-10;

/// The greatest eigenvalues of a Hessian.
#[derive(Clone, Debug, PartialEq)]
pub struct Curvature {
    /// Eigenvalues in descending order.
    pub eigenvalues: Vec<f64>,
    /// ‖H v − λ v‖ of each, with its eigenvector v of length 1.
    pub residuals: Vec<f64>,
    /// Products that were computed.
    pub products: u32,
}

/// The `wanted` greatest eigenvalues of a symmetric H, by Lanczos' method with full reorthogonalisation (Golub and Van
/// Loan, section 10.3). The products may be inexact: H is taken as ½ (H + Hᵀ) in the space that is searched. It ends after
/// `most` products, or once all residuals are below a thousandth of the greatest eigenvalue. `start` must not be zero.
///
/// # Errors
/// Those of `product`.
pub fn top_eigenvalues<E>(
    wanted: usize,
    most: u32,
    start: Vec<f64>,
    mut product: impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
) -> Result<Curvature, E> {
    let (mut basis, mut images): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    // VᵀHV, row by row.
    let mut projected: Vec<Vec<f64>> = Vec::new();
    let mut next = scaled(start, 1.0);
    loop {
        let image = product(&next)?;
        basis.push(next);
        for (row, direction) in projected.iter_mut().zip(&basis) {
            row.push(dot(direction, &image));
        }
        images.push(image);
        let newest = basis.len() - 1;
        projected.push(images.iter().map(|image| dot(&basis[newest], image)).collect());
        let found = ritz(&basis, &images, &projected, wanted);
        let accurate = found.eigenvalues.len() == wanted
            && found.residuals.iter().all(|residual| *residual <= RESIDUAL * found.eigenvalues[0].abs());
        let rest = orthogonal(images[newest].clone(), &basis);
        let exhausted = norm(rest.iter().copied()) <= EXHAUSTED * norm(images[newest].iter().copied());
        if accurate || exhausted || basis.len() as u32 >= most || basis.len() >= rest.len() {
            return Ok(found);
        }
        next = scaled(rest, 1.0);
    }
}

/// Eigenvalues and residuals within the space that is searched.
fn ritz(basis: &[Vec<f64>], images: &[Vec<f64>], projected: &[Vec<f64>], wanted: usize) -> Curvature {
    let n = basis.len();
    let entry = |place: usize| 0.5 * (projected[place / n][place % n] + projected[place % n][place / n]);
    let found = symmetric_eigen((0..n * n).map(entry).collect(), n);
    let of = |(value, weights): &(f64, Vec<f64>)| {
        let mut rest = vec![0.0; basis[0].len()];
        for ((weight, direction), image) in weights.iter().zip(basis).zip(images) {
            for ((rest, direction), image) in rest.iter_mut().zip(direction).zip(image) {
                *rest += weight * (image - value * direction);
            }
        }
        norm(rest.into_iter())
    };
    let top: Vec<_> = found.into_iter().take(wanted).collect();
    Curvature {
        residuals: top.iter().map(of).collect(),
        eigenvalues: top.into_iter().map(|(value, _)| value).collect(),
        products: n as u32,
    }
}

/// A keyed start of the search, standard normal.
pub fn start_vector(seed: u64, elements: usize) -> Vec<f64> {
    let mut stream = Key::new(seed, Purpose::HessianStart).stream();
    (0..elements).map(|_| f64::from(stream.normal())).collect()
}

/// A keyed probe of the trace: each element is 1 or −1.
pub fn rademacher(seed: u64, probe: u32, elements: usize) -> Vec<f64> {
    let mut stream = Key { batch: probe.into(), ..Key::new(seed, Purpose::HessianProbe) }.stream();
    (0..elements).map(|_| if stream.uniform() < 0.5 { -1.0 } else { 1.0 }).collect()
}

/// vᵀ H v of a probe v, whose mean over probes is the trace of H (Hutchinson, 1990).
pub fn hutchinson(probe: &[f64], product: &[f64]) -> f64 {
    dot(probe, product)
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// The vector at this length.
fn scaled(mut vector: Vec<f64>, length: f64) -> Vec<f64> {
    let scale = length / norm(vector.iter().copied());
    vector.iter_mut().for_each(|value| *value *= scale);
    vector
}

/// What of a vector is orthogonal to all others. Twice, because once leaves what rounding made.
fn orthogonal(mut vector: Vec<f64>, others: &[Vec<f64>]) -> Vec<f64> {
    for _ in 0..2 {
        for other in others {
            let along = dot(&vector, other);
            vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
        }
    }
    vector
}

#[cfg(test)]
mod tests;
