//! Two-dimensional convolution, channels last, with its gradients.
//!
//! 3×3 windows that move by one pixel are computed in Winograd's domain ([`winograd`]), all others as products with
//! rows of pixels ([`patches`]). Which of them is a matter of the shape alone.

mod geometry;
mod patches;
mod winograd;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use lookbehind_common::job::Precision;

use super::output::written;
use super::precision::{declared, operand};
use super::storage::contiguous;
use super::tape::apply2;
pub use geometry::Conv2d;
pub(super) use geometry::Geometry;
#[cfg(feature = "cuda")]
pub(super) use geometry::Plane;

/// Cross-correlation of x `[n, h, w, c]` with a weight `[out, c / groups, kh, kw]` as PyTorch keeps it; the result is
/// `[n, h', w', out]` with h' = (h + 2·padding − dilation·(kh − 1) − 1) / stride + 1.
///
/// # Errors
/// When the shapes do not fit each other or the window does not fit into the image.
pub fn conv2d(x: &Tensor, weight: &Tensor, options: Conv2d) -> Result<Tensor> {
    Geometry::new(x.dims4()?, weight.dims4()?, options)?;
    apply2(&x.contiguous()?, &weight.contiguous()?, Forward { options, precision: declared() })
}

pub(super) struct Forward {
    pub(super) options: Conv2d,
    pub(super) precision: Precision,
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry =
            Geometry::new(x_layout.shape().dims4()?, weight_layout.shape().dims4()?, self.options)?;
        let x = operand(self.precision, contiguous(x, x_layout)?);
        let weight = operand(self.precision, contiguous(weight, weight_layout)?);
        let y = written(geometry.output_len(), |y| {
            if geometry.is_winograd() {
                let transformed = winograd::Weights::forward(&geometry, &weight);
                winograd::convolve(&geometry, &x, &transformed, y);
            } else {
                patches::forward(&geometry, &x, &weight, y);
            }
        });
        Ok((CpuStorage::F32(y), Shape::from(geometry.output_dims())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let geometry = Geometry::new(x.dims4()?, weight.dims4()?, self.options)?;
        let of_weight =
            x.apply_op2_no_bwd(&gradient, &WeightGradient { geometry, precision: self.precision })?;
        let of_input = if x.track_op() {
            let operation = InputGradient { geometry, precision: self.precision };
            Some(weight.apply_op2_no_bwd(&gradient, &operation)?)
        } else {
            None
        };
        Ok((of_input, Some(of_weight)))
    }
}

/// From weight and the output's gradient to the input's.
struct InputGradient {
    geometry: Geometry,
    precision: Precision,
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d-input-gradient"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        weight_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = &self.geometry;
        let weight = operand(self.precision, contiguous(weight, weight_layout)?);
        let gradient = operand(self.precision, contiguous(gradient, gradient_layout)?);
        let result = written(geometry.input_len(), |result| {
            if geometry.is_winograd() {
                // The adjoint of a convolution is one with the weight turned around and its channels exchanged.
                let transformed = winograd::Weights::adjoint(geometry, &weight);
                winograd::convolve(&geometry.adjoint(), &gradient, &transformed, result);
            } else {
                patches::input_gradient(geometry, &weight, &gradient, result);
            }
        });
        Ok((CpuStorage::F32(result), Shape::from(geometry.input_dims())))
    }
}

/// From the input and the output's gradient to the weight's.
struct WeightGradient {
    geometry: Geometry,
    precision: Precision,
}

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d-weight-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = &self.geometry;
        let x = operand(self.precision, contiguous(x, x_layout)?);
        let gradient = operand(self.precision, contiguous(gradient, gradient_layout)?);
        let result = written(geometry.weight_len(), |result| {
            if geometry.is_winograd() {
                winograd::weight_gradient(geometry, &x, &gradient, result);
            } else {
                patches::weight_gradient(geometry, &x, &gradient, result);
            }
        });
        Ok((CpuStorage::F32(result), Shape::from(geometry.weight_dims())))
    }
}

#[cfg(test)]
#[path = "conv_test.rs"]
mod tests;
