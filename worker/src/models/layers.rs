//! Layers that the models share: tensors under PyTorch's names, initialised as PyTorch does, and a forward function.
//!
//! Activations are channels last: images are [n, h, w, c], features [n, f], tokens [n, t, c]. Weights have PyTorch's
//! layouts.

mod activation_memory;
mod batch_norm;
mod conv;
mod dropout;
mod linear;
mod norm;
pub(super) mod onnx;
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

/// The distribution from which PyTorch draws weights and biases of linear and convolutional layers: U(−1/√fan_in,
/// 1/√fan_in), which for the weights is `kaiming_uniform_` with a = √5.
fn within_fan_in(fan_in: usize) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

#[cfg(test)]
mod tests;
