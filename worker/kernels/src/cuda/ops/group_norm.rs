//! Group and layer normalisation.

use candle_core::{CudaStorage, Result, Shape, Tensor};
use cudarc::driver::CudaSlice;

use super::{Chunks, OnCuda, arguments, as_long_as, rows_of};
use crate::cuda::{DType, Number, View, by_dtype, current, kernels, storage, tensor, view};
use crate::norm::{GroupNorm, Sets};

/// Factors and summands, taken from `[2, channels]`.
fn affine(stacked: &Tensor, channels: usize) -> Result<[View<'_, f32>; 2]> {
    let stacked = view(stacked)?;
    Ok([stacked.part(0, channels)?, stacked.part(channels, channels)?])
}

/// The result, and mean and 1 / √(variance + eps) of each set.
struct Normalized<N> {
    y: CudaSlice<N>,
    mean: CudaSlice<f32>,
    inverse: CudaSlice<f32>,
}

impl GroupNorm {
    fn normalized<N: Number>(&self, x: View<'_, N>, stacked: &Tensor) -> Result<Normalized<N>> {
        let (gpu, Sets { pixels, channels, groups }) = (current()?, self.sets);
        let samples = rows_of(x.len(), self.sets.sample())?;
        let [weight, bias] = affine(stacked, channels)?;
        let (y, mean, inverse) =
            kernels::group_norm(&gpu, x, weight, bias, pixels, channels, groups, self.eps, samples)?;
        Ok(Normalized { y, mean, inverse })
    }

    /// The gradients of the input, and of factors and summands.
    fn gradients<N: Number>(&self, x: &Tensor, stacked: &Tensor, gradient: &Tensor) -> Result<[Tensor; 2]> {
        let (gpu, Sets { pixels, channels, groups }) = (current()?, self.sets);
        let from = view::<N>(x)?;
        let gradient = as_long_as(gradient, &from)?;
        // As on the CPU, moments are computed again instead of being kept.
        let Normalized { mean, inverse, .. } = self.normalized(from, stacked)?;
        let (mean, inverse) = (View::from(&mean), View::from(&inverse));
        let [weight, _] = affine(stacked, channels)?;
        let samples = rows_of(from.len(), self.sets.sample())?;
        let of_x = kernels::group_norm_gradient(
            &gpu, from, gradient, weight, mean, inverse, pixels, channels, groups, samples,
        )?;
        let rows = rows_of(from.len(), channels)?;
        let chunks = Chunks::to_sum(rows, channels);
        let partials = kernels::group_norm_affine(
            &gpu,
            from,
            gradient,
            mean,
            inverse,
            rows,
            channels,
            chunks.each,
            pixels,
            groups,
        )?;
        let of_affine = chunks.totals(&partials, channels, 2 * channels)?;
        Ok([tensor(of_x, x.shape(), &gpu), tensor(of_affine, stacked.shape(), &gpu)])
    }
}

impl OnCuda for GroupNorm {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, stacked] = arguments(given)?;
        let gpu = current()?;
        let y = by_dtype!(DType::of(x)?, N => storage(self.normalized::<N>(view(x)?, stacked)?.y, &gpu));
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, stacked] = arguments(given)?;
        let gradient = gradient.contiguous()?;
        let gradients = by_dtype!(DType::of(x)?, N => self.gradients::<N>(x, stacked, &gradient))?;
        Ok(gradients.into_iter().map(Some).collect())
    }
}
