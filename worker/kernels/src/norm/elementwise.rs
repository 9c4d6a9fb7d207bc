//! The elementwise kernels of batch normalisation: moments, result, sums of gradients, and gradients.

use super::Activation;
use crate::lanes::arch;
use crate::output::in_parts;
use crate::row_sums::row_sums;
use crate::storage::with_elements;
use candle_core::{Device, Result, Tensor};

/// Rows of one task.
const TASK_ROWS: usize = 256;

/// Batch statistics of all channels.
pub(super) struct BatchStatistics {
    rows: usize,
    mean: Vec<f32>,
    variance: Vec<f64>,
    /// 1 / √(variance + eps).
    inverse: Vec<f64>,
}

impl BatchStatistics {
    pub(super) fn of(x: &Tensor, rows: usize, channels: usize, eps: f64) -> Result<Self> {
        let sums = with_elements([x], |[x]| {
            row_sums(rows, 2 * channels, |rows, sums| {
                let (sum, squares) = sums.split_at_mut(channels);
                for x in x[rows.start * channels..rows.end * channels].chunks_exact(channels) {
                    for ((sum, square), &x) in sum.iter_mut().zip(squares.iter_mut()).zip(x) {
                        let x = f64::from(x);
                        *sum += x;
                        *square += x * x;
                    }
                }
            })
        })?;
        let count = rows as f64;
        let (sum, squares) = sums.split_at(channels);
        let mean: Vec<f64> = sum.iter().map(|sum| sum / count).collect();
        let variance: Vec<f64> =
            squares.iter().zip(&mean).map(|(square, mean)| (square / count - mean * mean).max(0.0)).collect();
        let inverse = variance.iter().map(|variance| 1.0 / (variance + eps).sqrt()).collect();
        Ok(Self { rows, mean: mean.into_iter().map(|mean| mean as f32).collect(), variance, inverse })
    }

    /// Mean and unbiased variance, as the layer reports them.
    pub(super) fn reported(&self) -> Result<(Tensor, Tensor)> {
        let count = self.rows as f64;
        let unbiased: Vec<f32> =
            self.variance.iter().map(|variance| (variance * count / (count - 1.0)) as f32).collect();
        let tensor = |elements: Vec<f32>| Tensor::from_vec(elements, self.mean.len(), &Device::Cpu);
        Ok((tensor(self.mean.clone())?, tensor(unbiased)?))
    }
}

/// Batch normalisation of one batch.
pub(crate) struct BatchNorm {
    pub(super) activation: Activation,
    pub(super) statistics: BatchStatistics,
}

impl BatchNorm {
    pub(super) fn forward(&self, x: &[f32], affine: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let channels = self.statistics.mean.len();
        let (weight, bias) = affine.split_at(channels);
        let scales: Vec<f32> = weight
            .iter()
            .zip(&self.statistics.inverse)
            .map(|(&weight, inverse)| (f64::from(weight) * inverse) as f32)
            .collect();
        let task = TASK_ROWS * channels;
        in_parts(x.len(), task, |number, result| {
            arch().dispatch(|| {
                let part = number * task..number * task + result.len();
                let (x, residual) = (&x[part.clone()], residual.map(|residual| &residual[part]));
                let rows = result.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).enumerate();
                for (row, (result, x)) in rows {
                    let residual = residual.map(|residual| &residual[row * channels..][..channels]);
                    self.forward_row(x, &scales, bias, residual, result);
                }
            });
        })
    }

    #[inline(always)]
    fn forward_row(
        &self,
        x: &[f32],
        scales: &[f32],
        bias: &[f32],
        residual: Option<&[f32]>,
        result: &mut [f32],
    ) {
        let mean = &self.statistics.mean;
        for ((((result, x), scale), bias), mean) in result.iter_mut().zip(x).zip(scales).zip(bias).zip(mean) {
            *result = (x - mean) * scale + bias;
        }
        if let Some(residual) = residual {
            result.iter_mut().zip(residual).for_each(|(result, residual)| *result += residual);
        }
        if self.activation == Activation::Relu {
            result.iter_mut().for_each(|result| *result = if *result <= 0.0 { 0.0 } else { *result });
        }
    }
}

/// Gradients of the operation's arguments: input `[.., c]`, factors and summands `[2, c]`, residual `[.., c]`.
pub(super) struct Gradients {
    pub(super) x: Tensor,
    pub(super) affine: Tensor,
    pub(super) residual: Tensor,
}

impl BatchNorm {
    pub(super) fn backward(
        &self,
        x: &Tensor,
        affine: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let before_activation = match self.activation {
            Activation::Identity => gradient.clone(),
            Activation::Relu => crate::relu_gradient(result, gradient)?,
        };
        let (x_gradient, affine_gradient) =
            with_elements([x, affine, &before_activation], |[x, affine, gradient]| {
                let sums = self.gradient_sums(x, gradient);
                (self.input_gradient(x, affine, gradient, &sums), self.affine_gradient(&sums))
            })?;
        Ok(Gradients {
            x: Tensor::from_vec(x_gradient, x.shape(), &Device::Cpu)?,
            affine: Tensor::from_vec(affine_gradient, affine.shape(), &Device::Cpu)?,
            residual: before_activation,
        })
    }

    /// Σ g of all channels, followed by Σ g · (x − mean) of all channels.
    fn gradient_sums(&self, x: &[f32], gradient: &[f32]) -> Vec<f64> {
        let mean = &self.statistics.mean;
        let channels = mean.len();
        row_sums(self.statistics.rows, 2 * channels, |rows, sums| {
            let (of_gradient, of_product) = sums.split_at_mut(channels);
            let range = rows.start * channels..rows.end * channels;
            for (x, gradient) in
                x[range.clone()].chunks_exact(channels).zip(gradient[range].chunks_exact(channels))
            {
                let sums = of_gradient.iter_mut().zip(of_product.iter_mut());
                for ((((sum, product), x), mean), &gradient) in sums.zip(x).zip(mean).zip(gradient) {
                    *sum += f64::from(gradient);
                    *product += f64::from(gradient) * f64::from(x - mean);
                }
            }
        })
    }

    /// The input's gradient: g ↦ scale · (g − mean of g − x̂ · mean of g x̂).
    fn input_gradient(&self, x: &[f32], affine: &[f32], gradient: &[f32], sums: &[f64]) -> Vec<f32> {
        let BatchStatistics { rows, mean, inverse, .. } = &self.statistics;
        let channels = mean.len();
        let (of_gradient, of_product) = sums.split_at(channels);
        let count = *rows as f64;
        let scales: Vec<f64> =
            affine.iter().zip(inverse).map(|(&weight, inverse)| f64::from(weight) * inverse).collect();
        let slopes = scales.iter().zip(of_product).zip(inverse);
        let slopes: Vec<f32> = slopes
            .map(|((scale, product), inverse)| (-scale * inverse * inverse * product / count) as f32)
            .collect();
        let offsets: Vec<f32> =
            scales.iter().zip(of_gradient).map(|(scale, sum)| (-scale * sum / count) as f32).collect();
        let scales: Vec<f32> = scales.into_iter().map(|scale| scale as f32).collect();
        let task = TASK_ROWS * channels;
        in_parts(x.len(), task, |number, result| {
            arch().dispatch(|| {
                let part = number * task..number * task + result.len();
                let (x, gradient) = (&x[part.clone()], &gradient[part]);
                let rows = result.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
                for ((result, x), gradient) in rows.zip(gradient.chunks_exact(channels)) {
                    let factors = scales.iter().zip(&slopes).zip(&offsets).zip(mean);
                    for (((result, x), gradient), (((scale, slope), offset), mean)) in
                        result.iter_mut().zip(x).zip(gradient).zip(factors)
                    {
                        *result = scale * gradient + (slope * (x - mean) + offset);
                    }
                }
            });
        })
    }

    /// Gradients of the factors, followed by those of the summands.
    fn affine_gradient(&self, sums: &[f64]) -> Vec<f32> {
        let (of_gradient, of_product) = sums.split_at(self.statistics.mean.len());
        let factors = of_product
            .iter()
            .zip(&self.statistics.inverse)
            .map(|(product, inverse)| (product * inverse) as f32);
        factors.chain(of_gradient.iter().map(|&sum| sum as f32)).collect()
    }
}
