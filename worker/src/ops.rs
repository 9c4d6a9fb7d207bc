//! Training kernels: operations with gradients of their own, where the tensor library's are slow or differ from
//! the published definitions.
//!
//! A kernel gives the same bytes whatever the number of threads and whatever runs beside it. Its transcendental
//! functions come from a pinned pure-Rust library.

mod conv;
pub mod cross_entropy;
mod gemm;
mod lanes;
mod linear;
mod reference;
mod relu;
mod scratch;
mod storage;

pub use conv::{Conv2d, conv2d};
pub use linear::linear;
pub use reference::{
    add_bias, attention, avg_pool2d, batch_norm, batch_norm_inference, channels_first, channels_last, gelu,
    global_avg_pool, group_norm, layer_norm, max_pool2d, sigmoid, silu, tanh,
};
pub use relu::relu;

use candle_core::Tensor;
pub(crate) use storage::{copy_from, copy_into};

/// Windows of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels around the image: zeros for the average, nothing for the maximum.
    pub padding: usize,
}

/// What follows a normalisation: y = x̂ · weight + bias.
pub struct Affine<'a> {
    /// Factors `[c]`.
    pub weight: &'a Tensor,
    /// Summands `[c]`.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
}

/// What batch normalisation makes of a batch.
pub struct Normalized {
    /// The layer's output.
    pub output: Tensor,
    /// Mean of each channel `[c]`, without gradient.
    pub mean: Tensor,
    /// Unbiased variance of each channel `[c]`, without gradient.
    pub variance: Tensor,
}

/// What follows a normalisation in the same pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(x, 0).
    Relu,
}
