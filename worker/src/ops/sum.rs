//! The sum of two tensors, as at the end of a residual branch.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::elementwise::elementwise;
use super::storage::contiguous;
use super::tape::apply2;

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

/// The same for gradients, without a gradient of its own.
pub(super) fn sum_of_gradients(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::sum_of_gradients(x, y);
    }
    x.contiguous()?.apply_op2_no_bwd(&y.contiguous()?, &Sum)
}

pub(super) struct Sum;

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = [contiguous(x, x_layout)?, contiguous(y, y_layout)?];
        Ok((CpuStorage::F32(elementwise(operands, |[x, y]| x + y)), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _y: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.clone()), Some(gradient.clone())))
    }
}

#[cfg(test)]
#[path = "sum_test.rs"]
mod tests;
