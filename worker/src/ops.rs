//! Training kernels: operations with gradients of their own, where the tensor library's are slow or differ from
//! the published definitions.
//!
//! A kernel gives the same bytes whatever the number of threads, the width of the vectors and what runs beside it: sums
//! are divided into fixed slices, products and sums are fused where they say so and nowhere else, transcendental
//! functions come from a pinned pure-Rust library. Images lie channels last, `[n, h, w, c]`; weights as PyTorch keeps
//! them.

mod activation;
#[cfg(test)]
mod agreement;
mod attention;
mod conv;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod definitions;
mod elementwise;
mod gemm;
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
#[cfg(feature = "cuda")]
pub(crate) use cuda::{Losses, cross_entropy as cross_entropy_on_cuda};
pub use layout::{channels_first, channels_last};
pub use linear::{add_bias, linear};
pub use norm::{Activation, Affine, Normalized, batch_norm, batch_norm_inference, group_norm, layer_norm};
pub use pool::{Pool2d, avg_pool2d, global_avg_pool, max_pool2d};
pub(crate) use precision::with_precision;
pub use relu::relu;
use relu::relu_gradient;
#[cfg(feature = "cuda")]
pub(crate) use storage::with_numbers;
pub(crate) use storage::{copy_from, copy_into};
pub use sum::sum;
pub(crate) use tape::{Gradients, record, without_gradients};
