//! Batch normalisation with residual addition and activation.

use candle_core::{Result, Shape, Storage, Tensor};

use super::{
    Argument, Chunks, Grid, Kind, OnCuda, Place, arguments, current, gradient_like, int, long, operand,
    singles,
};
use crate::cuda::{Numbers, numbers};
use crate::ops::norm::{self, Activation, Affine, Normalized};
use crate::ops::tape::{Operation, apply};

/// See [`crate::ops::batch_norm`].
pub(in crate::ops) fn batch_norm(
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

/// See [`crate::ops::batch_norm_inference`].
pub(in crate::ops) fn batch_norm_inference(
    x: &Tensor,
    affine: &Affine<'_>,
    [mean, variance]: [&Tensor; 2],
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (gpu, channels) = (current()?, affine.weight.elem_count());
    let scale = Place::new(&gpu, Kind::F32, channels)?;
    let launched = [
        singles(affine.weight)?.into(),
        singles(variance)?.into(),
        scale.argument(),
        int(channels)?,
        Argument::Double(affine.eps),
    ];
    gpu.launch("running_scale", Grid::over(channels), &launched)?;
    let factors = [singles(mean)?, scale.numbers, singles(affine.bias)?];
    let y = applied(&x, residual, factors, activation == Activation::Relu)?;
    Ok(y.tensor(x.shape()))
}

/// What a batch's channels are like; each `[channels]`, f32.
struct Moments {
    rows: usize,
    mean: Tensor,
    /// Unbiased.
    variance: Tensor,
    /// 1 / √(variance + eps).
    inverse: Tensor,
    /// weight / √(variance + eps).
    scale: Tensor,
}

impl Moments {
    fn of(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Self> {
        let (gpu, channels) = (current()?, weight.elem_count());
        let from = numbers(x)?;
        let rows = from.len / channels.max(1);
        let chunks = Chunks::to_sum(rows, channels);
        let partials = chunks.partials(&gpu, channels)?;
        let launched = [from.into(), partials.argument(), long(rows), int(channels)?, int(chunks.each)?];
        let kernel = from.kind.choose(["batch_sums_f32", "batch_sums_bf16"]);
        gpu.launch(kernel, chunks.grid(channels), &launched)?;
        let place = || Place::new(&gpu, Kind::F32, channels);
        let (mean, variance, inverse, scale) = (place()?, place()?, place()?, place()?);
        let launched = [
            partials.argument(),
            singles(weight)?.into(),
            mean.argument(),
            variance.argument(),
            inverse.argument(),
            scale.argument(),
            int(chunks.count())?,
            long(rows),
            int(channels)?,
            Argument::Double(eps),
        ];
        gpu.launch("batch_moments", Grid::columns(channels, 1), &launched)?;
        let [mean, variance, inverse, scale] =
            [mean, variance, inverse, scale].map(|place| place.tensor(channels));
        Ok(Self { rows, mean, variance, inverse, scale })
    }
}

/// (x − mean) · scale + bias + residual, and what is above 0 of it; the factors are `[channels]`.
fn applied(x: &Tensor, residual: Option<&Tensor>, factors: [Numbers; 3], relu: bool) -> Result<Place> {
    let (gpu, x) = (current()?, numbers(x)?);
    let residual = residual.map(|residual| operand(residual, x.kind)).transpose()?;
    let of_residual = match &residual {
        Some(residual) => numbers(residual)?.expect(x.kind, x.len)?.into(),
        None => Argument::Pointer(0),
    };
    let y = Place::new(&gpu, x.kind, x.len)?;
    let [mean, scale, bias] = factors;
    let rows = x.len / bias.len.max(1);
    let chunks = Chunks::to_map(rows);
    let launched = [
        x.into(),
        of_residual,
        y.argument(),
        mean.into(),
        scale.into(),
        bias.into(),
        long(rows),
        int(bias.len)?,
        int(chunks.each)?,
        Argument::Int(relu.into()),
    ];
    gpu.launch(x.kind.choose(["batch_apply_f32", "batch_apply_bf16"]), chunks.grid(bias.len), &launched)?;
    Ok(y)
}

/// Of x `[.., channels]`, weight, bias and, perhaps, a residual.
struct BatchNorm {
    moments: Moments,
    relu: bool,
}

impl BatchNorm {
    /// Σ gradient and Σ gradient · x̂ of each channel, `[2, channels]`.
    fn gradient_sums(&self, x: Numbers, result: Numbers, gradient: Numbers) -> Result<Place> {
        let (gpu, channels) = (current()?, self.moments.mean.elem_count());
        let chunks = Chunks::to_sum(self.moments.rows, channels);
        let partials = chunks.partials(&gpu, channels)?;
        let launched = [
            x.into(),
            result.into(),
            gradient.into(),
            singles(&self.moments.mean)?.into(),
            singles(&self.moments.inverse)?.into(),
            partials.argument(),
            long(self.moments.rows),
            int(channels)?,
            int(chunks.each)?,
            Argument::Int(self.relu.into()),
        ];
        let kernel = x.kind.choose(["batch_gradient_sums_f32", "batch_gradient_sums_bf16"]);
        gpu.launch(kernel, chunks.grid(channels), &launched)?;
        partials.totals(&gpu, chunks, channels, 2 * channels)
    }
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn forward(&self, given: &[&Tensor]) -> Result<(Storage, Shape)> {
        let [x, _, bias, residual @ ..] = given else { candle_core::bail!("{} arguments", given.len()) };
        let factors = [singles(&self.moments.mean)?, singles(&self.moments.scale)?, singles(bias)?];
        let y = applied(x, residual.first().copied(), factors, self.relu)?;
        Ok((Storage::Cuda(y.storage), x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let has_residual = given.len() > 3;
        let [x, weight, _] = arguments(given.get(..3).unwrap_or_default())?;
        let (gpu, channels) = (current()?, weight.elem_count());
        let gradient = gradient.contiguous()?;
        let from = numbers(x)?;
        let [of_result, of_gradient] = [numbers(result)?, numbers(&gradient)?];
        of_gradient.expect(from.kind, from.len)?;
        let sums = self.gradient_sums(from, of_result, of_gradient)?;
        let chunks = Chunks::to_map(self.moments.rows);
        let of_x = Place::new(&gpu, from.kind, from.len)?;
        let of_residual = has_residual.then(|| Place::new(&gpu, from.kind, from.len)).transpose()?;
        let launched = [
            from.into(),
            of_result.into(),
            of_gradient.into(),
            singles(&self.moments.mean)?.into(),
            singles(&self.moments.inverse)?.into(),
            singles(weight)?.into(),
            sums.argument(),
            of_x.argument(),
            of_residual.as_ref().map_or(Argument::Pointer(0), Place::argument),
            long(self.moments.rows),
            int(channels)?,
            int(chunks.each)?,
            Argument::Int(self.relu.into()),
        ];
        let kernel = from.kind.choose(["batch_gradient_f32", "batch_gradient_bf16"]);
        gpu.launch(kernel, chunks.grid(channels), &launched)?;
        let sums = sums.tensor((2, channels));
        let [of_bias, of_weight] = [0, 1].map(|row| sums.get(row));
        let mut gradients = vec![Some(of_x.tensor(x.shape())), Some(of_weight?), Some(of_bias?)];
        if let (Some(place), Some(residual)) = (of_residual, given.get(3)) {
            gradients.push(Some(gradient_like(place.tensor(x.shape()), residual)?));
        }
        Ok(gradients)
    }
}

/// The one for the CPU has its moments in the host's memory.
impl OnCuda for norm::BatchNorm {}
