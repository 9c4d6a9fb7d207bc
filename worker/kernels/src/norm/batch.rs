//! Batch normalisation (Ioffe and Szegedy, ICML 2015, algorithm 1) with residual addition and activation.

use candle_core::{Result, Shape, Tensor};

use super::elementwise::{BatchNorm, BatchStatistics};
use super::{Activation, Affine};
use crate::tape::{Kernel, apply2, apply3};

/// The output of batch normalisation and the batch statistics, which update the running statistics.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// The layer's output, of the input's shape.
    pub output: Tensor,
    /// Mean of each channel `[c]`, without gradient.
    pub mean: Tensor,
    /// Unbiased variance of each channel `[c]`, without gradient.
    pub variance: Tensor,
}

/// activation(x̂ · weight + bias + residual) with x̂ = (x − mean) / √(variance + eps), for x `[.., c]` and a residual of
/// the same shape; mean and (biased) variance of each channel are those of this batch.
///
/// # Errors
/// When the shapes do not fit, or there is only one value for each channel.
pub fn batch_norm(
    x: &Tensor,
    affine: &Affine<'_>,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Normalized> {
    let channels = affine.check(x)?;
    let rows = x.elem_count() / channels;
    if rows < 2 {
        candle_core::bail!("batch normalisation of {rows} value per channel, expected 2 or more");
    }
    check_residual(x, residual)?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::ops::batch_norm(x, affine, residual, activation);
    }
    let x = x.contiguous()?;
    let statistics = BatchStatistics::of(&x, rows, channels, affine.eps)?;
    let (mean, variance) = statistics.reported()?;
    let operation = BatchNorm { activation, statistics };
    let output = match residual {
        None => apply2(&x, &affine.stacked()?, operation)?,
        Some(residual) => apply3(&x, &affine.stacked()?, &residual.contiguous()?, operation)?,
    };
    Ok(Normalized { output, mean, variance })
}

/// Batch normalisation with given mean and variance `[c]`, for inference.
///
/// # Errors
/// When the shapes do not fit.
pub fn batch_norm_inference(
    x: &Tensor,
    affine: &Affine<'_>,
    mean: &Tensor,
    variance: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    affine.check(x)?;
    check_residual(x, residual)?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::ops::batch_norm_inference(x, affine, [mean, variance], residual, activation);
    }
    let scale = ((variance + affine.eps)?.sqrt()?.recip()? * affine.weight)?;
    let y = x.broadcast_sub(mean)?.broadcast_mul(&scale)?.broadcast_add(affine.bias)?;
    finish(y, residual, activation)
}

fn check_residual(x: &Tensor, residual: Option<&Tensor>) -> Result<()> {
    match residual {
        Some(residual) if residual.dims() != x.dims() => {
            candle_core::bail!("residual of shape {:?}, expected {:?}", residual.dims(), x.dims())
        }
        _ => Ok(()),
    }
}

fn finish(y: Tensor, residual: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    match activation {
        Activation::Identity => Ok(y),
        Activation::Relu => crate::relu(&y),
    }
}

impl Kernel<2> for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn compute(&self, [x, affine]: [&[f32]; 2], [shape, _]: [&Shape; 2]) -> Result<(Vec<f32>, Shape)> {
        Ok((self.forward(x, affine, None), shape.clone()))
    }

    fn gradients(
        &self,
        [x, affine]: [&Tensor; 2],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let gradients = self.backward(x, affine, result, gradient)?;
        Ok([Some(gradients.x), Some(gradients.affine)])
    }
}

impl Kernel<3> for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm-residual"
    }

    fn compute(
        &self,
        [x, affine, residual]: [&[f32]; 3],
        [shape, ..]: [&Shape; 3],
    ) -> Result<(Vec<f32>, Shape)> {
        Ok((self.forward(x, affine, Some(residual)), shape.clone()))
    }

    fn gradients(
        &self,
        [x, affine, _]: [&Tensor; 3],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let gradients = self.backward(x, affine, result, gradient)?;
        Ok([Some(gradients.x), Some(gradients.affine), Some(gradients.residual)])
    }
}

#[cfg(test)]
mod tests;
