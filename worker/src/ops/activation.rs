//! Smooth activations with pinned functions: the same bits on every machine.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::elementwise::elementwise;
use super::storage::{contiguous, with_numbers};
use super::tape::apply1;

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

impl CustomOp1 for Smooth {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let result = elementwise([contiguous(x, layout)?], |[x]| self.value(x));
        Ok((CpuStorage::F32(result), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let of_x = with_numbers([x, &gradient], |operands| {
            elementwise(operands, |[x, gradient]| (f64::from(gradient) * self.derivative(x)) as f32)
        })?;
        Tensor::from_vec(of_x, x.shape(), &Device::Cpu).map(Some)
    }
}

#[cfg(test)]
#[path = "activation_test.rs"]
mod tests;
