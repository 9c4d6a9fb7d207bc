//! ReLU with PyTorch's gradient: 0 at 0, where the tensor library's own gives 1. NaN passes through both ways.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::elementwise::elementwise;
use super::storage::contiguous;
use super::tape::apply1;

/// max(x, 0) elementwise, for f32 tensors of any shape.
///
/// # Errors
/// When the tensor is not f32.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply1(&x.contiguous()?, Relu)
}

pub(super) struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let result = elementwise([contiguous(x, layout)?], |[x]| if x <= 0.0 { 0.0 } else { x });
        Ok((CpuStorage::F32(result), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        relu_gradient(result, gradient).map(Some)
    }
}

/// The gradient of [`relu`]'s input from its result and the result's gradient, on the CPU.
pub(super) fn relu_gradient(result: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    result.apply_op2_no_bwd(&gradient.contiguous()?, &ReluGradient)
}

/// The gradient where the result is above 0.
struct ReluGradient;

impl CustomOp2 for ReluGradient {
    fn name(&self) -> &'static str {
        "relu-gradient"
    }

    fn cpu_fwd(
        &self,
        result: &CpuStorage,
        result_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let results = contiguous(result, result_layout)?;
        let gradients = contiguous(gradient, gradient_layout)?;
        let pass = |[result, gradient]: [f32; 2]| if result <= 0.0 { 0.0 } else { gradient };
        Ok((CpuStorage::F32(elementwise([results, gradients], pass)), result_layout.shape().clone()))
    }
}

#[cfg(test)]
#[path = "relu_test.rs"]
mod tests;
