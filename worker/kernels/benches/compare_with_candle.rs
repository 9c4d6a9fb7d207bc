//! Compares the times of the kernels with those of Candle's own operations, on the CPU with all threads of rayon's
//! pool:
//!
//! ```text
//! cargo bench -p lookbehind-kernels
//! ```
//!
//! Shapes are those of ResNet-18 for CIFAR-10 with 32 images, and of a small transformer. Times are the best of several
//! rounds in which the two libraries take turns; a ratio below 1 means that this crate is faster.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{BatchNorm, Module, ModuleT as _, loss};
use lookbehind_kernels::cross_entropy::of_logits;
use lookbehind_kernels::{Activation, Affine, Conv2d, Target, batch_norm, conv2d, linear, record};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IMAGES: usize = 32;
const ROUNDS: usize = 7;

fn main() -> Result<()> {
    println!("{:<44} {:>10} {:>10} {:>14}", "operation", "ours, ms", "Candle, ms", "ours / Candle");
    for (rows, inputs, outputs) in [(256, 256, 256), (1024, 1024, 1024), (4096, 384, 1536)] {
        product(rows, inputs, outputs)?;
    }
    for (size, inputs, outputs, stride) in
        [(32, 64, 64, 1), (32, 64, 128, 2), (8, 256, 256, 1), (4, 512, 512, 1)]
    {
        convolution(size, inputs, outputs, stride)?;
    }
    for (size, channels) in [(32, 64), (8, 256)] {
        normalisation(size, channels)?;
    }
    layer(2048, 384, 1536)?;
    for classes in [10, 1000] {
        losses(1024, classes)?;
    }
    Ok(())
}

/// The best time of each in milliseconds; the two are measured in turn.
fn compare(
    what: &str,
    mut ours: impl FnMut() -> Result<()>,
    mut candle: impl FnMut() -> Result<()>,
) -> Result<()> {
    let (mut best_ours, mut best_candle) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        best_ours = best_ours.min(timed(&mut ours)?);
        best_candle = best_candle.min(timed(&mut candle)?);
    }
    println!("{what:<44} {best_ours:>10.2} {best_candle:>10.2} {:>14.2}", best_ours / best_candle);
    Ok(())
}

fn timed(work: &mut impl FnMut() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn normal(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0_f32, 1.0, shape, &Device::Cpu)
}

fn variable(shape: &[usize]) -> Result<Var> {
    Var::from_tensor(&normal(shape)?)
}

/// This crate's forward and backward pass, by the tape, from a gradient of ones.
fn taped(forward: impl FnOnce() -> Result<Tensor>) -> Result<()> {
    let (y, tape) = record(forward);
    let y = y?;
    let gradient = y.ones_like()?;
    black_box(tape.backward(y, gradient)?);
    Ok(())
}

/// Candle's forward and backward pass, from a gradient of ones.
fn tracked(forward: impl FnOnce() -> Result<Tensor>) -> Result<()> {
    black_box(forward()?.sum_all()?.backward()?);
    Ok(())
}

fn product(rows: usize, inputs: usize, outputs: usize) -> Result<()> {
    let (x, weight) = (normal(&[rows, inputs])?, normal(&[outputs, inputs])?);
    let bias = Tensor::zeros(outputs, DType::F32, &Device::Cpu)?;
    compare(
        &format!("product {rows} x {inputs} x {outputs}"),
        || linear(&x, &weight, &bias).map(|y| drop(black_box(y))),
        || x.matmul(&weight.t()?).map(|y| drop(black_box(y))),
    )
}

fn convolution(size: usize, inputs: usize, outputs: usize, stride: usize) -> Result<()> {
    let weight = variable(&[outputs, inputs, 3, 3])?;
    let last = variable(&[IMAGES, size, size, inputs])?;
    let first = Var::from_tensor(&last.permute((0, 3, 1, 2))?.contiguous()?)?;
    let options = Conv2d { stride, padding: 1, ..Conv2d::default() };
    let ours = || conv2d(&last, &weight, options);
    let candle = || first.conv2d(&weight, 1, stride, 1, 1);
    let what = format!("conv 3x3 / {stride}, {size} x {size}, {inputs} to {outputs}");
    compare(
        &format!("{what}, forward"),
        || ours().map(|y| drop(black_box(y))),
        || candle().map(|y| drop(black_box(y))),
    )?;
    compare(&format!("{what}, both ways"), || taped(ours), || tracked(candle))
}

fn normalisation(size: usize, channels: usize) -> Result<()> {
    let last = variable(&[IMAGES, size, size, channels])?;
    let first = Var::from_tensor(&last.permute((0, 3, 1, 2))?.contiguous()?)?;
    let (weight, bias) = (variable(&[channels])?, variable(&[channels])?);
    let zeros = Tensor::zeros(channels, DType::F32, &Device::Cpu)?;
    let layer = BatchNorm::new(
        channels,
        zeros.clone(),
        zeros.ones_like()?,
        weight.as_tensor().clone(),
        bias.as_tensor().clone(),
        1e-5,
    )?;
    compare(
        &format!("batch norm + ReLU, {size} x {size} x {channels}, both ways"),
        || {
            let affine = Affine { weight: &weight, bias: &bias, eps: 1e-5 };
            taped(|| Ok(batch_norm(&last, &affine, None, Activation::Relu)?.output))
        },
        || tracked(|| layer.forward_t(&first, true)?.relu()),
    )
}

fn layer(rows: usize, inputs: usize, outputs: usize) -> Result<()> {
    let (x, weight, bias) =
        (variable(&[rows, inputs])?, variable(&[outputs, inputs])?, variable(&[outputs])?);
    let layer = candle_nn::Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
    compare(
        &format!("linear {rows} x {inputs} x {outputs}, both ways"),
        || taped(|| linear(&x, &weight, &bias)),
        || tracked(|| layer.forward(&x)),
    )
}

fn losses(samples: usize, classes: usize) -> Result<()> {
    let logits = variable(&[samples, classes])?;
    let numbers: Vec<u32> = (0..samples as u32).map(|sample| sample % classes as u32).collect();
    let targets: Vec<Target> = numbers.iter().copied().map(Target::from).collect();
    let numbers = Tensor::from_vec(numbers, samples, &Device::Cpu)?;
    compare(
        &format!("cross entropy {samples} x {classes}, with gradient"),
        || of_logits(&logits, &targets, 0.0, samples as u64).map(|losses| drop(black_box(losses))),
        || tracked(|| loss::cross_entropy(&logits, &numbers)),
    )
}
