//! The sum of two tensors, as at the end of a residual branch.

use candle_core::{Device, Result, Shape, Tensor};

use super::elementwise::elementwise;
use super::storage::with_elements;
use super::tape::{Kernel, apply2};

/// x + y for f32 tensors of the same shape.
///
/// # Errors
/// When the shapes differ or the tensors are not f32.
pub fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if x.shape() != y.shape() {
        candle_core::bail!("sum of tensors of shapes {:?} and {:?}", x.dims(), y.dims());
    }
    apply2(&x.contiguous()?, &y.contiguous()?, Sum)
}

/// The sum of two gradients, which is not recorded itself.
pub(super) fn sum_of_gradients(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::ops::sum_of_gradients(x, y);
    }
    let elements = with_elements([&x.contiguous()?, &y.contiguous()?], added)?;
    Tensor::from_vec(elements, x.shape(), &Device::Cpu)
}

fn added(operands: [&[f32]; 2]) -> Vec<f32> {
    elementwise(operands, |[x, y]| x + y)
}

pub(super) struct Sum;

impl Kernel<2> for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn compute(&self, operands: [&[f32]; 2], [shape, _]: [&Shape; 2]) -> Result<(Vec<f32>, Shape)> {
        Ok((added(operands), shape.clone()))
    }

    fn gradients(
        &self,
        _arguments: [&Tensor; 2],
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(gradient.clone()), Some(gradient.clone())])
    }
}

#[cfg(test)]
mod tests;
