//! A multilayer perceptron with ReLU and softmax cross-entropy, and its gradient by the chain rule.

use std::ops::Range;

use super::{Samples, Tensors, Values};

/// The tensors that form the layers.
pub struct Mlp {
    /// For each layer the indices of its weight and bias among the tensors, and its number of inputs.
    layers: Vec<(usize, usize, usize)>,
}

impl Mlp {
    /// The perceptron whose tensors are `layers.N.weight` (`[out, in]`) and `layers.N.bias` (`[out]`).
    ///
    /// # Panics
    /// If a layer has no bias.
    pub fn of(tensors: &Tensors) -> Self {
        let number = |name: String| tensors.keys().position(|other| *other == name);
        let layer = |n: usize| {
            let weight = number(format!("layers.{n}.weight"))?;
            let bias = number(format!("layers.{n}.bias")).expect("a bias for every weight");
            Some((weight, bias, tensors[&format!("layers.{n}.weight")].0[1]))
        };
        Self { layers: (0..).map_while(layer).collect() }
    }
}

/// Mean loss over some samples, and its gradient, tensor by tensor.
pub fn loss_and_gradient(
    mlp: &Mlp,
    weights: &Values,
    samples: &Samples,
    batch: &Range<usize>,
) -> (f64, Values) {
    let mut gradient: Values = weights.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
    let mut loss = 0.0;
    for sample in batch.clone() {
        loss += add_sample(mlp, weights, &samples.inputs[sample], samples.targets[sample], &mut gradient);
    }
    let count = batch.len() as f64;
    gradient.iter_mut().flatten().for_each(|g| *g /= count);
    (loss / count, gradient)
}

/// Adds the gradient of one sample's loss; returns the loss.
fn add_sample(mlp: &Mlp, weights: &Values, input: &[f64], target: usize, gradient: &mut Values) -> f64 {
    let last = mlp.layers.len() - 1;
    let mut activations = vec![input.to_vec()];
    for (layer, &(weight, bias, width)) in mlp.layers.iter().enumerate() {
        let x = &activations[layer];
        let mut y = weights[bias].clone();
        for (out, row) in weights[weight].chunks(width).enumerate() {
            y[out] += row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        }
        if layer < last {
            y.iter_mut().for_each(|y| *y = y.max(0.0));
        }
        activations.push(y);
    }
    let logits = &activations[last + 1];
    let largest = logits.iter().fold(f64::MIN, |a, &b| a.max(b));
    let total: f64 = logits.iter().map(|y| (y - largest).exp()).sum();
    let mut delta: Vec<f64> = logits.iter().map(|y| (y - largest).exp() / total).collect();
    delta[target] -= 1.0;
    let loss = total.ln() + largest - logits[target];

    for (layer, &(weight, bias, width)) in mlp.layers.iter().enumerate().rev() {
        let x = &activations[layer];
        let mut below = vec![0.0; width];
        for (out, d) in delta.iter().enumerate() {
            gradient[bias][out] += d;
            for i in 0..width {
                gradient[weight][out * width + i] += d * x[i];
                below[i] += d * weights[weight][out * width + i];
            }
        }
        // ReLU passes the gradient where it passed the value.
        delta = below.iter().zip(x).map(|(d, &x)| if x > 0.0 { *d } else { 0.0 }).collect();
    }
    loss
}
