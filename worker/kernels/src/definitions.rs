//! The definitions of the operations, composed of the tensor library's operations: the kernels are compared with these
//! in float64. Arguments and results are those of the operations; tensors lie channels last.

use std::f64::consts::FRAC_1_SQRT_2;

use candle_core::{D, Device, Result, Tensor};

use super::{Activation, Conv2d, Pool2d, channels_first, channels_last};

/// x Wᵀ + b.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?.contiguous()?)?.broadcast_add(bias)
}

/// Cross-correlation, group by group.
pub fn conv2d(x: &Tensor, weight: &Tensor, options: Conv2d) -> Result<Tensor> {
    let Conv2d { stride, padding, dilation, groups } = options;
    let (inputs, outputs) = (x.dim(D::Minus1)? / groups, weight.dim(0)? / groups);
    let x = channels_first(x)?;
    let group = |number: usize| {
        let x = x.narrow(1, number * inputs, inputs)?.contiguous()?;
        let weight = weight.narrow(0, number * outputs, outputs)?.contiguous()?;
        by_taps(&x, &weight, [stride, padding, dilation])
    };
    let groups = (0..groups).map(group).collect::<Result<Vec<_>>>()?;
    channels_last(&Tensor::cat(&groups, 1)?)
}

/// The convolution of x `[n, c, h, w]`: the sum over the taps of the window of the pixels under the tap times its
/// weights.
fn by_taps(x: &Tensor, weight: &Tensor, [stride, padding, dilation]: [usize; 3]) -> Result<Tensor> {
    let (outputs, _, down, across) = weight.dims4()?;
    let (n, c, ..) = x.dims4()?;
    let x = bordered(x, padding, 0.0)?;
    let (_, _, height, width) = x.dims4()?;
    let rows = |tap: usize| places(tap * dilation, height - (down - 1) * dilation, stride);
    let columns = |tap: usize| places(tap * dilation, width - (across - 1) * dilation, stride);
    let mut sum: Option<Tensor> = None;
    for (row, column) in (0..down).flat_map(|row| (0..across).map(move |column| (row, column))) {
        let under = x.index_select(&rows(row)?, 2)?.index_select(&columns(column)?, 3)?;
        let (_, _, h, w) = under.dims4()?;
        let pixels = under.permute((0, 2, 3, 1))?.contiguous()?.reshape((n * h * w, c))?;
        let tap = weight.narrow(2, row, 1)?.narrow(3, column, 1)?.contiguous()?.reshape((outputs, c))?;
        let products = pixels.matmul(&tap.t()?.contiguous()?)?.reshape((n, h, w, outputs))?;
        let products = products.permute((0, 3, 1, 2))?.contiguous()?;
        sum = Some(match sum {
            Some(sum) => (sum + products)?,
            None => products,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a window without taps".to_owned()))
}

/// The mean of each window; the zeros of the padding count.
pub fn avg_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    channels_last(&windows(&channels_first(x)?, pool, 0.0)?.mean(4)?)
}

/// The maximum of each window.
pub fn max_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    channels_last(&windows(&channels_first(x)?, pool, -1e9)?.max(4)?)
}

/// Windows of `[n, c, h, w]` as a last dimension, with `fill` around the image.
fn windows(x: &Tensor, pool: Pool2d, fill: f64) -> Result<Tensor> {
    let Pool2d { size, stride, padding } = pool;
    let x = bordered(x, padding, fill)?;
    let (_, _, height, width) = x.dims4()?;
    let mut taps = Vec::new();
    for (row, column) in (0..size).flat_map(|row| (0..size).map(move |column| (row, column))) {
        let rows = places(row, height + 1 - size, stride)?;
        taps.push(x.index_select(&rows, 2)?.index_select(&places(column, width + 1 - size, stride)?, 3)?);
    }
    Tensor::stack(&taps, 4)
}

/// `[n, c, h, w]` with a border.
fn bordered(x: &Tensor, padding: usize, fill: f64) -> Result<Tensor> {
    if padding == 0 {
        return Ok(x.clone());
    }
    let (n, c, h, w) = x.dims4()?;
    let border =
        |shape: (usize, usize, usize, usize)| Tensor::full(fill, shape, x.device())?.to_dtype(x.dtype());
    let (above, left) = (border((n, c, padding, w))?, border((n, c, h + 2 * padding, padding))?);
    let x = Tensor::cat(&[&above, x, &above], 2)?;
    Tensor::cat(&[&left, &x, &left], 3)
}

/// Every `stride`-th of `extent` indices, from `first` on.
fn places(first: usize, extent: usize, stride: usize) -> Result<Tensor> {
    let places = (0..extent).step_by(stride).map(|place| u32::try_from(first + place));
    let places: std::result::Result<Vec<u32>, _> = places.collect();
    Tensor::new(places.map_err(candle_core::Error::wrap)?, &Device::Cpu)
}

/// The mean over all pixels.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    x.flatten(1, x.rank() - 2)?.mean(1)
}

/// Batch normalisation with batch statistics; `parts` are x, weight, bias and, optionally, a residual.
pub fn batch_norm(parts: &[Tensor], eps: f64, activation: Activation) -> Result<Tensor> {
    let [x, weight, bias, residual @ ..] = parts else { candle_core::bail!("{} tensors", parts.len()) };
    let rows = x.flatten_to(D::Minus2)?;
    let centred = rows.broadcast_sub(&rows.mean(0)?)?;
    let scale = ((centred.sqr()?.mean(0)? + eps)?.sqrt()?.recip()? * weight)?;
    let y = centred.broadcast_mul(&scale)?.broadcast_add(bias)?.reshape(x.shape())?;
    let y = match residual.first() {
        Some(residual) => (y + residual)?,
        None => y,
    };
    if activation == Activation::Relu { y.relu() } else { Ok(y) }
}

/// Normalisation within each group of channels of a sample.
pub fn group_norm(x: &Tensor, groups: usize, [weight, bias]: [&Tensor; 2], eps: f64) -> Result<Tensor> {
    let (n, channels) = (x.dim(0)?, x.dim(D::Minus1)?);
    let sets = x.reshape((n, (), groups, channels / groups))?.transpose(1, 2)?.contiguous()?;
    let y = normal(&sets.flatten_from(2)?, eps)?.reshape(sets.shape())?.transpose(1, 2)?.contiguous()?;
    y.reshape(x.shape())?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Normalisation over the last dimension.
pub fn layer_norm(x: &Tensor, [weight, bias]: [&Tensor; 2], eps: f64) -> Result<Tensor> {
    let channels = x.dim(D::Minus1)?;
    let y = normal(&x.reshape(((), 1, channels))?, eps)?.reshape(x.shape())?;
    y.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Normalises each of the sets `[n, groups, elements]`.
fn normal(sets: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = sets.broadcast_sub(&sets.mean_keepdim(2)?)?;
    centred.broadcast_div(&(centred.sqr()?.mean_keepdim(2)? + eps)?.sqrt()?)
}

/// softmax(q kᵀ / √(c / heads)) v.
pub fn attention([q, k, v]: [&Tensor; 3], heads: usize) -> Result<Tensor> {
    let (n, tokens, channels) = q.dims3()?;
    let split = |x: &Tensor| x.reshape((n, tokens, heads, channels / heads))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let scale = 1.0 / ((channels / heads) as f64).sqrt();
    let exponentials = (q.matmul(&k.t()?.contiguous()?)? * scale)?.exp()?;
    let weights = exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((n, tokens, channels))
}

/// 1 / (1 + exp(−x)).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// x σ(x).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x * sigmoid(x)?
}

/// x Φ(x).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    (x * 0.5)? * ((x * FRAC_1_SQRT_2)?.erf()? + 1.0)?
}
