//! Normalisation over a batch or within a sample, fused with the operations that follow it.
//!
//! Moments are sums in f64 over fixed blocks of rows, added in their order, so that they do not depend on the number of
//! threads.

mod batch;
mod elementwise;
mod group;

use candle_core::{D, DType, Result, Tensor};

pub use batch::{Normalized, batch_norm, batch_norm_inference};
#[cfg(feature = "cuda")]
pub(super) use elementwise::BatchNorm;
#[cfg(feature = "cuda")]
pub(super) use group::{GroupNorm, Sets};
pub use group::{group_norm, layer_norm};

/// The affine map of a normalisation: y = x̂ · weight + bias.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Factors, one for each channel `[c]`.
    pub weight: &'a Tensor,
    /// Summands, one for each channel `[c]`.
    pub bias: &'a Tensor,
    /// Added to the variance before the square root.
    pub eps: f64,
}

impl Affine<'_> {
    /// Factors and summands as one tensor `[2, c]`, whose gradient flows back to both.
    fn stacked(&self) -> Result<Tensor> {
        Tensor::stack(&[self.weight, self.bias], 0)
    }

    /// Checks that x is f32 `[.., c]` and that there is a factor and a summand for each channel; returns the channels.
    fn check(&self, x: &Tensor) -> Result<usize> {
        let channels = x.dim(D::Minus1)?;
        let (weight, bias) = (self.weight.dims(), self.bias.dims());
        // On GPUs a convolution's result may be bfloat16.
        let known = x.dtype() == DType::F32 || (x.device().is_cuda() && x.dtype() == DType::BF16);
        if !known || x.elem_count() == 0 || weight != [channels] || bias != [channels] {
            let (shape, dtype) = (x.dims(), x.dtype());
            candle_core::bail!(
                "normalisation of {shape:?} of {dtype:?} with weight {weight:?} and bias {bias:?}: expected F32 with one \
                 of each for every channel"
            );
        }
        Ok(channels)
    }
}

/// Activation that is fused with a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// max(x, 0).
    Relu,
}
