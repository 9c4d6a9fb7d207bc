//! Layers that the models share: tensors under PyTorch's names, drawn as PyTorch draws them, and a forward context.
//!
//! Activations lie channels last: images are [n, h, w, c], features [n, f], tokens [n, t, c]. Weights have PyTorch's
//! layouts.

mod activation_memory;
mod batch_norm;
mod conv;
mod dropout;
mod linear;
mod norm;
mod shape;

use candle_nn::Init;

pub(super) use activation_memory::ActivationMemory;
pub(super) use batch_norm::BatchNorm;
pub(super) use conv::{Conv, ConvSpec};
pub(super) use dropout::{Dropout, Dropouts, check_dropout};
pub(super) use linear::Linear;
pub(super) use norm::{GroupNorm, LayerNorm, Norm, NormKind, NormName};
pub(super) use shape::{ImageShape, Shape, window};

/// Epsilon of PyTorch's normalisation layers.
const EPS: f64 = 1e-5;

/// What PyTorch draws weights and biases of linear and convolutional layers from: U(−1/√fan_in, 1/√fan_in), which for
/// the weights is `kaiming_uniform_` with a = √5.
fn within_fan_in(fan_in: usize) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

#[cfg(test)]
mod tests;
