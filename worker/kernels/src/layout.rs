//! Converts between the two orders of an image's elements: channels first, as in PyTorch and in data sets, and channels
//! last, as the kernels take them.

use candle_core::{Result, Tensor};

/// From `[n, c, h, w]` to contiguous `[n, h, w, c]`.
///
/// # Errors
/// When the tensor does not have four dimensions.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}

/// From `[n, h, w, c]` to contiguous `[n, c, h, w]`.
///
/// # Errors
/// When the tensor does not have four dimensions.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}
