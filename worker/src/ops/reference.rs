//! The operations composed of the tensor library's own: slow, and right.

use candle_core::{D, DType, Result, Tensor};

use super::{Activation, Affine, Normalized, Pool2d, relu};

/// [n,c,h,w] to contiguous [n,h,w,c].
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}

/// [n,h,w,c] to contiguous [n,c,h,w].
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

/// Bias.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.broadcast_add(bias)
}

fn activate(x: Tensor, residual: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let x = match residual {
        Some(residual) => (x + residual)?,
        None => x,
    };
    match activation {
        Activation::Identity => Ok(x),
        Activation::Relu => relu(&x),
    }
}

/// Training.
pub fn batch_norm(
    x: &Tensor,
    affine: &Affine<'_>,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Normalized> {
    let rows = x.flatten_to(D::Minus2)?;
    let n = rows.dim(0)? as f64;
    let mean = rows.mean(0)?;
    let centred = rows.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean(0)?;
    let scale = (&variance + affine.eps)?.sqrt()?.recip()?;
    let y = centred.broadcast_mul(&scale)?.broadcast_mul(affine.weight)?.broadcast_add(affine.bias)?;
    let output = activate(y.reshape(x.shape())?, residual, activation)?;
    Ok(Normalized { output, mean: mean.detach(), variance: (variance.detach() * (n / (n - 1.0)))? })
}

/// Inference.
pub fn batch_norm_inference(
    x: &Tensor,
    affine: &Affine<'_>,
    mean: &Tensor,
    variance: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let scale = ((variance + affine.eps)?.sqrt()?.recip()? * affine.weight)?;
    let y = x.broadcast_sub(mean)?.broadcast_mul(&scale)?.broadcast_add(affine.bias)?;
    activate(y, residual, activation)
}

/// Over groups of channels.
pub fn group_norm(x: &Tensor, groups: usize, affine: &Affine<'_>) -> Result<Tensor> {
    let c = x.dim(D::Minus1)?;
    let n = x.dim(0)?;
    let y = x.reshape((n, (), groups, c / groups))?.transpose(1, 2)?.contiguous()?;
    let shape = y.shape().clone();
    let y = y.flatten_from(2)?;
    let centred = y.broadcast_sub(&y.mean_keepdim(2)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?;
    let y = centred.broadcast_div(&(variance + affine.eps)?.sqrt()?)?;
    let y = y.reshape(shape)?.transpose(1, 2)?.contiguous()?.reshape(x.shape())?;
    y.broadcast_mul(affine.weight)?.broadcast_add(affine.bias)
}

/// Over the channels.
pub fn layer_norm(x: &Tensor, affine: &Affine<'_>) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let y = centred.broadcast_div(&(variance + affine.eps)?.sqrt()?)?;
    y.broadcast_mul(affine.weight)?.broadcast_add(affine.bias)
}

fn pad(x: &Tensor, padding: usize) -> Result<Tensor> {
    channels_first(x)?.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)
}

/// Largest of each window.
pub fn max_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    if pool.padding > 0 {
        candle_core::bail!("padding of max_pool2d comes with the kernel");
    }
    channels_last(&channels_first(x)?.max_pool2d_with_stride(pool.size, pool.stride)?)
}

/// Mean of each window.
pub fn avg_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    channels_last(&pad(x, pool.padding)?.avg_pool2d_with_stride(pool.size, pool.stride)?)
}

/// Mean over all positions.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    x.flatten(1, D::Minus2)?.mean(1)
}

/// x Φ(x).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// x σ(x).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

/// tanh.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    x.tanh()
}

/// 1 / (1 + exp(−x)).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// Attention.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (n, t, c) = q.dims3()?;
    let split = |x: &Tensor| x.reshape((n, t, heads, c / heads))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let scores = (q.matmul(&k.t()?.contiguous()?)? * (1.0 / ((c / heads) as f64).sqrt()))?;
    let greatest = scores.max_keepdim(D::Minus1)?.detach();
    let exponentials = scores.broadcast_sub(&greatest)?.exp()?;
    let weights = exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?;
    let y = weights.to_dtype(DType::F32)?.matmul(&v)?;
    y.transpose(1, 2)?.contiguous()?.reshape((n, t, c))
}
