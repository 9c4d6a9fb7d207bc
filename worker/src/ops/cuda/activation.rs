//! ReLU, the smooth activations and sums.

use candle_core::{CudaStorage, Result, Shape, Tensor};

use super::{Argument, OnCuda, Place, arguments, gradient_like, map, operand};
use crate::cuda::{Kind, numbers};
use crate::ops::activation::Smooth;
use crate::ops::relu::Relu;
use crate::ops::sum::Sum;

impl OnCuda for Relu {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x] = arguments(given)?;
        let y = map(["relu_f32", "relu_bf16"], [numbers(x)?], &[])?;
        Ok((y.storage, x.shape().clone()))
    }

    fn backward(
        &self,
        _arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let gradient = gradient.contiguous()?;
        let operands = [numbers(result)?, numbers(&gradient)?];
        let of_x = map(["relu_gradient_f32", "relu_gradient_bf16"], operands, &[])?;
        Ok(vec![Some(of_x.tensor(result.shape()))])
    }
}

/// `Smooth` of `kernels/elementwise.cu`.
fn number_of(function: Smooth) -> Argument {
    Argument::Int(match function {
        Smooth::Gelu => 0,
        Smooth::Silu => 1,
        Smooth::Tanh => 2,
        Smooth::Sigmoid => 3,
    })
}

impl OnCuda for Smooth {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x] = arguments(given)?;
        let y = map(["smooth_f32", "smooth_bf16"], [numbers(x)?], &[number_of(*self)])?;
        Ok((y.storage, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = arguments(given)?;
        let gradient = gradient.contiguous()?;
        let operands = [numbers(x)?, numbers(&gradient)?];
        let of_x = map(["smooth_gradient_f32", "smooth_gradient_bf16"], operands, &[number_of(*self)])?;
        Ok(vec![Some(of_x.tensor(x.shape()))])
    }
}

impl OnCuda for Sum {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, y] = arguments(given)?;
        Ok((sum(x, y)?.storage, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        given.iter().map(|argument| gradient_like(gradient.clone(), argument).map(Some)).collect()
    }
}

/// The sum of two tensors: f32 where one of them is.
fn sum(x: &Tensor, y: &Tensor) -> Result<Place> {
    let kind = if Kind::of(x)? == Kind::of(y)? { Kind::of(x)? } else { Kind::F32 };
    let (x, y) = (operand(x, kind)?, operand(y, kind)?);
    map(["sum_f32", "sum_bf16"], [numbers(&x)?, numbers(&y)?], &[])
}

/// The sum of two gradients.
pub(in crate::ops) fn sum_of_gradients(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    Ok(sum(x, y)?.tensor(x.shape()))
}
