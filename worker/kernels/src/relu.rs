//! ReLU with PyTorch's gradient: 0 at 0, where the tensor library's own gives 1. NaN passes through in both directions.

use candle_core::{Device, Result, Shape, Tensor};

use super::elementwise::elementwise;
use super::storage::with_elements;
use super::tape::{Kernel, apply1};

/// max(x, 0) elementwise, for f32 tensors of any shape.
///
/// # Errors
/// When the tensor is not f32.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply1(&x.contiguous()?, Relu)
}

pub(super) struct Relu;

impl Kernel<1> for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn compute(&self, x: [&[f32]; 1], [shape]: [&Shape; 1]) -> Result<(Vec<f32>, Shape)> {
        Ok((elementwise(x, |[x]| if x <= 0.0 { 0.0 } else { x }), shape.clone()))
    }

    fn gradients(
        &self,
        _arguments: [&Tensor; 1],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(relu_gradient(result, gradient)?)])
    }
}

/// The gradient of [`relu`]'s input on the CPU: the result's gradient where the result is above 0. It needs the result
/// only, so the input need not be kept.
pub(super) fn relu_gradient(result: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let of_x = with_elements([result, gradient], |operands| {
        elementwise(operands, |[result, gradient]| if result <= 0.0 { 0.0 } else { gradient })
    })?;
    Tensor::from_vec(of_x, result.shape(), &Device::Cpu)
}

#[cfg(test)]
mod tests;
