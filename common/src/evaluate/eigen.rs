//! Eigenvalues of small symmetric matrices, by Jacobi's rotations (Golub and Van Loan, "Matrix computations", section
//! 8.5): few lines, and accurate to the last digits. Only + − × ÷ √ in a fixed order.

/// Most sweeps over all pairs; ten suffice for matrices of this size.
const SWEEPS: u32 = 60;

/// Eigenvalues in descending order, each with its eigenvector, of a symmetric matrix of `n` rows, row-major.
pub(super) fn symmetric_eigen(mut matrix: Vec<f64>, n: usize) -> Vec<(f64, Vec<f64>)> {
    let mut vectors: Vec<f64> =
        (0..n * n).map(|place| if place / n == place % n { 1.0 } else { 0.0 }).collect();
    let total: f64 = matrix.iter().map(|value| value * value).sum();
    for _ in 0..SWEEPS {
        let off: f64 = pairs(n).map(|(row, column)| matrix[row * n + column].powi(2)).sum();
        if off <= f64::EPSILON * f64::EPSILON * total {
            break;
        }
        for (row, column) in pairs(n) {
            rotate(&mut matrix, &mut vectors, n, row, column);
        }
    }
    let vector = |place: usize| (0..n).map(|row| vectors[row * n + place]).collect();
    let mut found: Vec<(f64, Vec<f64>)> =
        (0..n).map(|place| (matrix[place * n + place], vector(place))).collect();
    found.sort_by(|left, right| right.0.total_cmp(&left.0));
    found
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |row| (row + 1..n).map(move |column| (row, column)))
}

/// Rotates the plane of two axes so that their entry becomes zero.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let between = matrix[p * n + q];
    if between == 0.0 {
        return;
    }
    let theta = (matrix[q * n + q] - matrix[p * n + p]) / (2.0 * between);
    let sign = if theta < 0.0 { -1.0 } else { 1.0 };
    let t = sign / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for k in 0..n {
        let (left, right) = (matrix[k * n + p], matrix[k * n + q]);
        (matrix[k * n + p], matrix[k * n + q]) = (c * left - s * right, s * left + c * right);
    }
    for k in 0..n {
        let (left, right) = (matrix[p * n + k], matrix[q * n + k]);
        (matrix[p * n + k], matrix[q * n + k]) = (c * left - s * right, s * left + c * right);
    }
    for k in 0..n {
        let (left, right) = (vectors[k * n + p], vectors[k * n + q]);
        (vectors[k * n + p], vectors[k * n + q]) = (c * left - s * right, s * left + c * right);
    }
}

#[cfg(test)]
mod tests;
