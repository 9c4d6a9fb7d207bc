//! A linear layer, batch normalisation, ReLU and a linear layer with softmax cross-entropy: the gradient by the chain rule,
//! and the statistics of the batch.

use std::ops::Range;

use super::{Samples, Values};

/// Added to the variance of a batch, as PyTorch does.
const EPS: f64 = 1e-5;

/// Names of the tensors, in the order in which they are taken and returned: those of PyTorch's `nn.Sequential`.
pub const NAMES: [&str; 6] = ["0.bias", "0.weight", "1.bias", "1.weight", "3.bias", "3.weight"];

/// Results for some samples that are normalised together.
pub struct Normed {
    /// Gradient of the mean loss, tensor by tensor.
    pub gradient: Values,
    /// Mean of each hidden channel.
    pub mean: Vec<f64>,
    /// Unbiased variance of each hidden channel.
    pub variance: Vec<f64>,
}

/// The gradient of the mean loss over some samples, at least two, which are normalised together: with their own mean and
/// variance, or with given ones.
pub fn normed(
    weights: &Values,
    samples: &Samples,
    batch: &Range<usize>,
    frozen: Option<&[Vec<f64>; 2]>,
) -> Normed {
    let [bias, weight, shift, scale, out_bias, out_weight] = &weights[..] else { panic!("six tensors") };
    let (hidden, classes, count) = (bias.len(), out_bias.len(), batch.len() as f64);
    let inputs = &samples.inputs[batch.clone()];
    let width = weight.len() / hidden;
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    // [samples][hidden]
    let u: Vec<Vec<f64>> = inputs
        .iter()
        .map(|x| (0..hidden).map(|j| bias[j] + dot(&weight[j * width..(j + 1) * width], x)).collect())
        .collect();
    let mean: Vec<f64> = (0..hidden).map(|j| u.iter().map(|u| u[j]).sum::<f64>() / count).collect();
    let squares: Vec<f64> =
        (0..hidden).map(|j| u.iter().map(|u| (u[j] - mean[j]).powi(2)).sum::<f64>()).collect();
    let (centre, spread): (Vec<f64>, Vec<f64>) = match frozen {
        Some([mean, variance]) => (mean.clone(), variance.clone()),
        None => (mean.clone(), squares.iter().map(|sum| sum / count).collect()),
    };
    let inverse: Vec<f64> = spread.iter().map(|variance| 1.0 / (variance + EPS).sqrt()).collect();
    let mut gradient: Values = weights.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
    let (mut normalised, mut of_normalised) = (Vec::new(), Vec::new());
    for (u, target) in u.iter().zip(&samples.targets[batch.clone()]) {
        let x_hat: Vec<f64> = (0..hidden).map(|j| (u[j] - centre[j]) * inverse[j]).collect();
        let y: Vec<f64> = (0..hidden).map(|j| scale[j] * x_hat[j] + shift[j]).collect();
        let h: Vec<f64> = y.iter().map(|y| y.max(0.0)).collect();
        let row = |c: usize| &out_weight[c * hidden..(c + 1) * hidden];
        let logits: Vec<f64> = (0..classes).map(|c| out_bias[c] + dot(row(c), &h)).collect();
        let largest = logits.iter().fold(f64::MIN, |a, &b| a.max(b));
        let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let mut of_h = vec![0.0; hidden];
        for c in 0..classes {
            let expected = if c == *target { 1.0 } else { 0.0 };
            let delta = ((logits[c] - largest).exp() / total - expected) / count;
            gradient[4][c] += delta;
            for j in 0..hidden {
                gradient[5][c * hidden + j] += delta * h[j];
                of_h[j] += delta * row(c)[j];
            }
        }
        let of_y: Vec<f64> = (0..hidden).map(|j| if y[j] > 0.0 { of_h[j] } else { 0.0 }).collect();
        for j in 0..hidden {
            gradient[2][j] += of_y[j];
            gradient[3][j] += of_y[j] * x_hat[j];
        }
        of_normalised.push((0..hidden).map(|j| of_y[j] * scale[j]).collect::<Vec<f64>>());
        normalised.push(x_hat);
    }
    for j in 0..hidden {
        let sum: f64 = of_normalised.iter().map(|d| d[j]).sum();
        let along: f64 = of_normalised.iter().zip(&normalised).map(|(d, x)| d[j] * x[j]).sum();
        for ((d, x_hat), x) in of_normalised.iter().zip(&normalised).zip(inputs) {
            let through_moments = if frozen.is_some() { 0.0 } else { (sum + x_hat[j] * along) / count };
            let of_u = inverse[j] * (d[j] - through_moments);
            gradient[0][j] += of_u;
            for i in 0..width {
                gradient[1][j * width + i] += of_u * x[i];
            }
        }
    }
    let variance = squares.iter().map(|sum| sum / (count - 1.0)).collect();
    Normed { gradient, mean, variance }
}
