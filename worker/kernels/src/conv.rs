//! Two-dimensional convolution, channels last, with its gradients.
//!
//! 3×3 windows with stride 1 over enough channels are computed in Winograd's domain ([`winograd`]), all others as
//! matrix products with rows of pixels ([`patches`]). The choice depends on the shape alone, so that it is the same on
//! every machine.

mod geometry;
mod patches;
mod winograd;

use std::borrow::Cow;

use candle_core::{Device, Result, Shape, Tensor};
use lookbehind_common::job::Precision;

use super::precision::{declared, operand};
use super::storage::with_elements;
use super::tape::{Kernel, apply2};
pub use geometry::Conv2d;
pub(super) use geometry::Geometry;
#[cfg(feature = "cuda")]
pub(super) use geometry::Plane;

/// Cross-correlation of x `[n, h, w, c]` with a weight `[out, c / groups, kh, kw]` in PyTorch's layout; the result is
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

impl Kernel<2> for Forward {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn compute(&self, operands: [&[f32]; 2], [of_x, of_weight]: [&Shape; 2]) -> Result<(Vec<f32>, Shape)> {
        let geometry = Geometry::new(of_x.dims4()?, of_weight.dims4()?, self.options)?;
        let [x, weight] = operands.map(|elements| operand(self.precision, elements));
        let y = if geometry.is_winograd() {
            winograd::convolve(&geometry, &x, &winograd::Weights::forward(&geometry, &weight))
        } else {
            patches::forward(&geometry, &x, &weight)
        };
        Ok((y, Shape::from(geometry.output_dims())))
    }

    fn gradients(
        &self,
        [x, weight]: [&Tensor; 2],
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let geometry = Geometry::new(x.dims4()?, weight.dims4()?, self.options)?;
        let of_weight = || {
            let of_weight = with_elements([x, gradient], |operands| {
                weight_gradient(&geometry, operands.map(|elements| operand(self.precision, elements)))
            })?;
            Tensor::from_vec(of_weight, geometry.weight_dims(), &Device::Cpu)
        };
        let of_input = || {
            let of_input = with_elements([weight, gradient], |operands| {
                input_gradient(&geometry, operands.map(|elements| operand(self.precision, elements)))
            })?;
            Tensor::from_vec(of_input, geometry.input_dims(), &Device::Cpu)
        };
        // Of a frozen weight, and of the inputs of the first layer that is trained, there is none.
        let of_weight = weight.track_op().then(of_weight).transpose()?;
        Ok([x.track_op().then(of_input).transpose()?, of_weight])
    }
}

/// The input's gradient from the weight and the output's gradient.
fn input_gradient(geometry: &Geometry, [weight, gradient]: [Cow<'_, [f32]>; 2]) -> Vec<f32> {
    if geometry.is_winograd() {
        // The adjoint of a convolution is a convolution with rotated windows and exchanged channels.
        let transformed = winograd::Weights::adjoint(geometry, &weight);
        winograd::convolve(&geometry.adjoint(), &gradient, &transformed)
    } else {
        patches::input_gradient(geometry, &weight, &gradient)
    }
}

/// The weight's gradient from the input and the output's gradient.
fn weight_gradient(geometry: &Geometry, [x, gradient]: [Cow<'_, [f32]>; 2]) -> Vec<f32> {
    if geometry.is_winograd() {
        winograd::weight_gradient(geometry, &x, &gradient)
    } else {
        patches::weight_gradient(geometry, &x, &gradient)
    }
}

#[cfg(test)]
mod tests;
