//! NVIDIA GPUs: devices, memory and kernels, and the operations that they compute (`ops`).
//!
//! Every run gives the same bytes: no operation here adds with atomics; the algorithm of each library call is written
//! in a table of this build (`convolutions.rs`), never chosen by timing or by free memory; every stream has its own
//! handles and workspaces. A shape that the table's algorithms do not support is refused.
//!
//! A thread opens a GPU with [`open`], [`Gpu::new`] and [`enter`]; from then on the operations of this crate compute
//! tensors of that device on it. Data is copied through [`Pinned`], [`Staging`], [`Landing`] and [`Results`], which
//! keep track of the copies that have not finished.

mod convolutions;
mod devices;
mod dtype;
mod flat;
mod gemm;
mod gpu;
mod kernels;
mod landing;
pub(crate) mod ops;
mod pinned;
mod results;
mod targets;

pub use candle_core::cuda::CudaError;
pub(crate) use convolutions::{Convolution, Shape4};
pub use devices::{Found, describe, describe_class, found};
pub use dtype::{DType, Number, View, tensor};
pub(crate) use dtype::{by_dtype, storage, view};
pub use flat::{Destination, Segment, add, gather, round_to_bf16};
pub(crate) use gemm::{Gemm, Matrix, Place};
pub(crate) use gpu::current;
pub use gpu::{Failure, Gpu, Queue, enter, in_words, leave, open};
pub use landing::{Landing, Staging};
pub use ops::{Losses, cross_entropy};
pub use pinned::{COPIED_AT_ONCE, Pinned};
pub use results::Results;
pub(crate) use targets::RowLosses;
pub use targets::{TargetStaging, Targets};

#[cfg(test)]
mod tests;
