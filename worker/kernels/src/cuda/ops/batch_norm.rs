//! Batch normalisation with residual addition and activation.

use candle_core::{Result, Shape, Storage, Tensor};

use super::{Chunks, OnCuda, arguments, as_long_as, gradient_like, operand, rows_of};
use crate::cuda::{DType, Gpu, Number, by_dtype, current, kernels, storage, tensor, view};
use crate::norm::{self, Activation, Affine, Normalized};
use crate::tape::{Operation, apply};

/// See [`crate::batch_norm`].
pub(crate) fn batch_norm(
    x: &Tensor,
    affine: &Affine<'_>,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Normalized> {
    let x = x.contiguous()?;
    let (weight, bias) = (affine.weight.contiguous()?, affine.bias.contiguous()?);
    let moments = Moments::of(&x, &weight, affine.eps)?;
    let Moments { mean, variance, .. } = &moments;
    let (mean, variance) = (mean.clone(), variance.clone());
    let operation = BatchNorm { moments, relu: activation == Activation::Relu };
    let mut given = vec![&x, &weight, &bias];
    given.extend(residual);
    Ok(Normalized { output: apply(&given, operation)?, mean, variance })
}

/// See [`crate::batch_norm_inference`].
pub(crate) fn batch_norm_inference(
    x: &Tensor,
    affine: &Affine<'_>,
    [mean, variance]: [&Tensor; 2],
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (gpu, channels) = (current()?, affine.weight.elem_count());
    let scale = kernels::running_scale(&gpu, view(affine.weight)?, view(variance)?, channels, affine.eps)?;
    let factors = [mean, &tensor(scale, channels, &gpu), affine.bias];
    let y = applied(&x, residual, factors, activation == Activation::Relu)?;
    Ok(Tensor::from_storage(y, x.shape().clone(), candle_core::op::BackpropOp::none(), false))
}

/// Batch statistics and what follows from them; each `[channels]`, f32.
struct Moments {
    rows: usize,
    mean: Tensor,
    /// Unbiased variance.
    variance: Tensor,
    /// 1 / √(variance + eps).
    inverse: Tensor,
    /// weight / √(variance + eps).
    scale: Tensor,
}

impl Moments {
    fn of(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Self> {
        let (gpu, channels) = (current()?, weight.elem_count());
        let rows = rows_of(x.elem_count(), channels)?;
        let each = Chunks::to_sum(rows, channels).each;
        let partials = by_dtype!(DType::of(x)?, N => {
            kernels::batch_sums::<N>(&gpu, view(x)?, rows, channels, each)
        })?;
        let chunks = kernels::chunks(rows, each)?;
        let (partials, weight) = ((&partials).into(), view(weight)?);
        let (mean, variance, inverse, scale) =
            kernels::batch_moments(&gpu, partials, weight, chunks, rows, channels, eps)?;
        let [mean, variance, inverse, scale] =
            [mean, variance, inverse, scale].map(|moments| tensor(moments, channels, &gpu));
        Ok(Self { rows, mean, variance, inverse, scale })
    }
}

/// (x − mean) · scale + bias + residual, with ReLU if `relu`; mean, scale and bias are `[channels]`.
fn applied(x: &Tensor, residual: Option<&Tensor>, factors: [&Tensor; 3], relu: bool) -> Result<Storage> {
    let kind = DType::of(x)?;
    let residual = residual.map(|residual| operand(residual, kind)).transpose()?;
    by_dtype!(kind, N => applied_as::<N>(x, residual.as_ref(), factors, relu))
}

fn applied_as<N: Number>(
    x: &Tensor,
    residual: Option<&Tensor>,
    [mean, scale, bias]: [&Tensor; 3],
    relu: bool,
) -> Result<Storage> {
    let (gpu, x, channels) = (current()?, view::<N>(x)?, bias.elem_count());
    let residual = residual.map(|residual| as_long_as(residual, &x)).transpose()?;
    let rows = rows_of(x.len(), channels)?;
    let [mean, scale, bias] = [view(mean)?, view(scale)?, view(bias)?];
    let each = Chunks::to_map(rows).each;
    let y = kernels::batch_apply(&gpu, x, residual, mean, scale, bias, rows, channels, each, relu)?;
    Ok(Storage::Cuda(storage(y, &gpu)))
}

/// Batch normalisation of x `[.., channels]`, weight, bias and, optionally, a residual.
struct BatchNorm {
    moments: Moments,
    relu: bool,
}

/// Gradients of x and, if it is wanted, of the residual; sums `[2, channels]` of gradient and gradient · x̂.
struct Gradients {
    of_x: Tensor,
    of_residual: Option<Tensor>,
    sums: Tensor,
}

impl BatchNorm {
    fn gradients<N: Number>(
        &self,
        gpu: &Gpu,
        [x, result, gradient, weight]: [&Tensor; 4],
        has_residual: bool,
    ) -> Result<Gradients> {
        let Self { moments: Moments { rows, mean, inverse, .. }, relu } = self;
        let (rows, relu, channels, shape) = (*rows, *relu, weight.elem_count(), x.shape());
        let x = view::<N>(x)?;
        let (result, gradient) = (as_long_as(result, &x)?, as_long_as(gradient, &x)?);
        let (mean, inverse, weight) = (view(mean)?, view(inverse)?, view(weight)?);
        let chunks = Chunks::to_sum(rows, channels);
        let partials = kernels::batch_gradient_sums(
            gpu,
            x,
            result,
            gradient,
            mean,
            inverse,
            rows,
            channels,
            chunks.each,
            relu,
        )?;
        let sums = chunks.totals(&partials, channels, 2 * channels)?;
        let each = Chunks::to_map(rows).each;
        let (of_x, of_residual) = kernels::batch_gradient(
            gpu,
            x,
            result,
            gradient,
            mean,
            inverse,
            weight,
            (&sums).into(),
            has_residual,
            rows,
            channels,
            each,
            relu,
        )?;
        Ok(Gradients {
            of_x: tensor(of_x, shape, gpu),
            of_residual: of_residual.map(|of_residual| tensor(of_residual, shape, gpu)),
            sums: tensor(sums, (2, channels), gpu),
        })
    }
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn forward(&self, given: &[&Tensor]) -> Result<(Storage, Shape)> {
        let [x, _, bias, residual @ ..] = given else { candle_core::bail!("{} arguments", given.len()) };
        let factors = [&self.moments.mean, &self.moments.scale, bias];
        let y = applied(x, residual.first().copied(), factors, self.relu)?;
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (required, residual) = match given {
            [required @ .., residual] if given.len() == 4 => (required, Some(residual)),
            required => (required, None),
        };
        let [x, weight, _] = arguments(required)?;
        let (gpu, gradient) = (current()?, gradient.contiguous()?);
        let tensors = [x, result, &gradient, weight];
        let Gradients { of_x, of_residual, sums } =
            by_dtype!(DType::of(x)?, N => self.gradients::<N>(&gpu, tensors, residual.is_some()))?;
        let mut gradients = vec![Some(of_x), Some(sums.get(1)?), Some(sums.get(0)?)];
        if let (Some(of_residual), Some(residual)) = (of_residual, residual) {
            gradients.push(Some(gradient_like(&of_residual, residual)?));
        }
        Ok(gradients)
    }
}

/// The CPU's operation keeps its moments in host memory, so GPUs have another one.
impl OnCuda for norm::BatchNorm {}
