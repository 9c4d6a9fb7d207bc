//! Normalised logits, (z − mean) / ‖z − mean‖ for each sample: a measure of their loss does not change when a model's
//! logits are scaled (Andriushchenko et al., "A modern look at the relationship between sharpness and generalization",
//! ICML 2023, section 3).

/// The normalised logits [n, classes], row-major. A row whose logits are all equal becomes zeros.
pub fn normalise_logits(logits: &[f32], classes: usize) -> Vec<f32> {
    let rows = logits.chunks_exact(classes.max(1));
    rows.flat_map(|row| {
        let (centred, norm) = centred(row);
        centred.into_iter().map(move |value| (value / norm) as f32)
    })
    .collect()
}

/// The gradient with respect to the logits, given the one with respect to the normalised logits: with u = z − mean(z) and
/// v = u / ‖u‖, the derivative is (I − 1/classes) (I − v vᵀ) / ‖u‖.
pub fn pull_back(logits: &[f32], gradient: &[f32], classes: usize) -> Vec<f32> {
    let rows = logits.chunks_exact(classes.max(1)).zip(gradient.chunks_exact(classes.max(1)));
    rows.flat_map(|(row, gradient)| {
        let (centred, norm) = centred(row);
        let along: f64 = centred.iter().zip(gradient).map(|(u, g)| u / norm * f64::from(*g)).sum();
        let tangent: Vec<f64> =
            centred.iter().zip(gradient).map(|(u, g)| (f64::from(*g) - u / norm * along) / norm).collect();
        let mean = tangent.iter().sum::<f64>() / classes as f64;
        tangent.into_iter().map(move |value| (value - mean) as f32)
    })
    .collect()
}

/// z − mean(z), and its norm; 1 in place of a norm of 0.
fn centred(row: &[f32]) -> (Vec<f64>, f64) {
    let mean = row.iter().map(|&z| f64::from(z)).sum::<f64>() / row.len() as f64;
    let centred: Vec<f64> = row.iter().map(|&z| f64::from(z) - mean).collect();
    let norm = centred.iter().map(|u| u * u).sum::<f64>().sqrt();
    (centred, if norm == 0.0 { 1.0 } else { norm })
}

#[cfg(test)]
mod tests;
