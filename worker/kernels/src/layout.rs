//! Between the two orders of an image's numbers: channel by channel, as PyTorch and data sets have them, and pixel by
//! pixel, as the kernels want them.

use candle_core::{Result, Tensor};

/// From `[n, c, h, w]` to contiguous `[n, h, w, c]`.
///
/// # Errors
/// When the tensor has not four dimensions.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}

/// From `[n, h, w, c]` to contiguous `[n, c, h, w]`.
///
/// # Errors
/// When the tensor has not four dimensions.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}
