//! ReLU, the smooth activations and sums.

use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Result, Shape, Storage, Tensor};

use super::{OnCuda, arguments, as_long_as, gradient_like, operand};
use crate::activation::Smooth;
use crate::cuda::{DType, by_dtype, current, kernels, storage, tensor, view};
use crate::relu::Relu;
use crate::sum::Sum;

impl OnCuda for Relu {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x] = arguments(given)?;
        let gpu = current()?;
        let y = by_dtype!(DType::of(x)?, N => {
            storage(kernels::relu::<N>(&gpu, view(x)?, x.elem_count())?, &gpu)
        });
        Ok((y, x.shape().clone()))
    }

    fn backward(
        &self,
        _arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (gpu, gradient, shape) = (current()?, gradient.contiguous()?, result.shape());
        let of_x = by_dtype!(DType::of(result)?, N => {
            let result = view::<N>(result)?;
            let gradient = as_long_as(&gradient, &result)?;
            tensor(kernels::relu_gradient(&gpu, result, gradient, result.len())?, shape, &gpu)
        });
        Ok(vec![Some(of_x)])
    }
}

/// The number of the function in `Smooth` of `kernels/elementwise.cu`.
fn code(function: Smooth) -> i32 {
    match function {
        Smooth::Gelu => 0,
        Smooth::Silu => 1,
        Smooth::Tanh => 2,
        Smooth::Sigmoid => 3,
    }
}

impl OnCuda for Smooth {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x] = arguments(given)?;
        let gpu = current()?;
        let y = by_dtype!(DType::of(x)?, N => {
            storage(kernels::smooth::<N>(&gpu, view(x)?, x.elem_count(), code(*self))?, &gpu)
        });
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = arguments(given)?;
        let (gpu, gradient, shape) = (current()?, gradient.contiguous()?, x.shape());
        let of_x = by_dtype!(DType::of(x)?, N => {
            let x = view::<N>(x)?;
            let gradient = as_long_as(&gradient, &x)?;
            tensor(kernels::smooth_gradient(&gpu, x, gradient, x.len(), code(*self))?, shape, &gpu)
        });
        Ok(vec![Some(of_x)])
    }
}

impl OnCuda for Sum {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, y] = arguments(given)?;
        let (gpu, kind) = (current()?, kind_of_sum(x, y)?);
        let (x, y) = (operand(x, kind)?, operand(y, kind)?);
        let sum = by_dtype!(kind, N => {
            let x = view::<N>(&x)?;
            storage(kernels::sum(&gpu, x, as_long_as(&y, &x)?, x.len())?, &gpu)
        });
        Ok((sum, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        given.iter().map(|argument| gradient_like(gradient, argument).map(Some)).collect()
    }
}

/// Element type of a sum: f32 if one of the summands is.
fn kind_of_sum(x: &Tensor, y: &Tensor) -> Result<DType> {
    let (x, y) = (DType::of(x)?, DType::of(y)?);
    Ok(if x == y { x } else { DType::F32 })
}

/// The sum of two gradients.
pub(crate) fn sum_of_gradients(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (sum, shape) = OnCuda::forward(&Sum, &[x, y])?;
    Ok(Tensor::from_storage(Storage::Cuda(sum), shape, BackpropOp::none(), false))
}
