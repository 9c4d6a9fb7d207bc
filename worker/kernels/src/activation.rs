//! Smooth activations, computed in f64 with a pinned mathematical library: the same bits on every machine.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use candle_core::{Device, Result, Shape, Tensor};

use super::elementwise::elementwise;
use super::storage::with_elements;
use super::tape::{Kernel, apply1};

/// x Φ(x) with the standard normal distribution function (Hendrycks and Gimpel, 2016), for f32 tensors of any shape.
///
/// # Errors
/// When the tensor is not f32.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    apply(x, Smooth::Gelu)
}

/// x σ(x), for f32 tensors of any shape.
///
/// # Errors
/// When the tensor is not f32.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply(x, Smooth::Silu)
}

/// tanh x, for f32 tensors of any shape.
///
/// # Errors
/// When the tensor is not f32.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    apply(x, Smooth::Tanh)
}

/// 1 / (1 + exp(−x)), for f32 tensors of any shape.
///
/// # Errors
/// When the tensor is not f32.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(x, Smooth::Sigmoid)
}

fn apply(x: &Tensor, function: Smooth) -> Result<Tensor> {
    apply1(&x.contiguous()?, function)
}

#[derive(Clone, Copy)]
pub(super) enum Smooth {
    Gelu,
    Silu,
    Tanh,
    Sigmoid,
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// Standard normal distribution function.
fn normal_below(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x * FRAC_1_SQRT_2))
}

impl Smooth {
    fn value(self, x: f32) -> f32 {
        let x = f64::from(x);
        let value = match self {
            Self::Gelu => x * normal_below(x),
            Self::Silu => x * logistic(x),
            Self::Tanh => libm::tanh(x),
            Self::Sigmoid => logistic(x),
        };
        value as f32
    }

    fn derivative(self, x: f32) -> f64 {
        let x = f64::from(x);
        match self {
            Self::Gelu => normal_below(x) + x * libm::exp(-0.5 * x * x) / (2.0 * PI).sqrt(),
            Self::Silu => logistic(x) * (1.0 + x * (1.0 - logistic(x))),
            Self::Tanh => 1.0 - libm::tanh(x) * libm::tanh(x),
            Self::Sigmoid => logistic(x) * (1.0 - logistic(x)),
        }
    }
}

impl Kernel<1> for Smooth {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn compute(&self, x: [&[f32]; 1], [shape]: [&Shape; 1]) -> Result<(Vec<f32>, Shape)> {
        Ok((elementwise(x, |[x]| self.value(x)), shape.clone()))
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 1]> {
        let of_x = with_elements([x, gradient], |operands| {
            elementwise(operands, |[x, gradient]| (f64::from(gradient) * self.derivative(x)) as f32)
        })?;
        Ok([Some(Tensor::from_vec(of_x, x.shape(), &Device::Cpu)?)])
    }
}

#[cfg(test)]
mod tests;
