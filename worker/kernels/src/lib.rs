//! Training kernels for [Candle](candle_core): operations with their own gradients, where Candle's are slow or differ
//! from the published definitions, and a tape that runs the backward pass through them.
//!
//! A kernel gives the same bytes whatever the number of threads, the width of the vectors and the load of the machine:
//! sums are divided into fixed slices, multiplications and additions are fused where the code says so and nowhere else,
//! and transcendental functions come from a pinned library in pure Rust. Images lie channels last, `[n, h, w, c]`;
//! weights have PyTorch's layout.
//!
//! # Layers
//!
//! - [`linear`], [`add_bias`], [`conv2d`], [`attention`].
//! - [`batch_norm`] and [`batch_norm_inference`], [`group_norm`], [`layer_norm`].
//! - [`relu`], [`gelu`], [`silu`], [`tanh`], [`sigmoid`], [`sum()`] of residual branches.
//! - [`max_pool2d`], [`avg_pool2d`], [`global_avg_pool`].
//! - [`channels_last`] and [`channels_first`], which convert from and to Candle's order of dimensions.
//!
//! # Training
//!
//! [`record`] runs a forward pass and records it on a [`Tape`]; [`mod@cross_entropy`] computes losses and the gradient
//! that the backward pass starts from; [`Tape::backward`] gives the [`Gradients`] of all variables. Without a tape,
//! Candle's own `backward` runs through the kernels as well. [`interruptible`] passes end early when nobody waits for them
//! any more.
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use lookbehind_kernels::cross_entropy::of_logits;
//! use lookbehind_kernels::{Target, linear, record};
//!
//! # fn main() -> candle_core::Result<()> {
//! let x = Tensor::randn(0_f32, 1.0, (8, 4), &Device::Cpu)?;
//! let weight = Var::randn(0_f32, 0.5, (3, 4), &Device::Cpu)?;
//! let bias = Var::zeros(3, DType::F32, &Device::Cpu)?;
//! let targets: Vec<Target> = (0..8).map(|sample| Target::from(sample % 3)).collect();
//!
//! let (logits, tape) = record(|| linear(&x, &weight, &bias));
//! let logits = logits?;
//! let loss = of_logits(&logits, &targets, 0.0, 8)?;
//! let gradient = Tensor::from_vec(loss.gradient, (8, 3), &Device::Cpu)?;
//! let gradients = tape.backward(logits, gradient)?;
//! assert_eq!(gradients.get(&weight).map(Tensor::dims), Some(&[3, 4][..]));
//! # Ok(())
//! # }
//! ```
//!
//! `cuda`, with the feature of the same name: the same on NVIDIA GPUs.

mod activation;
#[cfg(test)]
mod agreement;
mod attention;
mod conv;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod cuda_kernels_tests;
pub mod definitions;
mod elementwise;
mod gemm;
mod interruption;
mod lanes;
mod layout;
mod linear;
mod norm;
mod output;
mod pool;
mod precision;
mod relu;
mod row_sums;
mod scratch;
mod storage;
mod sum;
mod tape;

pub use activation::{gelu, sigmoid, silu, tanh};
pub use attention::attention;
pub use conv::{Conv2d, conv2d};
pub use interruption::interruptible;
pub use layout::{channels_first, channels_last};
pub use linear::{add_bias, linear};
pub use lookbehind_common::job::Precision;
pub use lookbehind_common::partial::Sums;
pub use lookbehind_common::target::{MixedClass, Target};
pub use norm::{Activation, Affine, Normalized, batch_norm, batch_norm_inference, group_norm, layer_norm};
pub use pool::{Pool2d, avg_pool2d, global_avg_pool, max_pool2d};
pub use precision::with_precision;
pub use relu::relu;
use relu::relu_gradient;
pub use storage::{copy_from, copy_into, with_elements};
pub use sum::sum;
pub use tape::{Gradients, Tape, record, without_gradients};
