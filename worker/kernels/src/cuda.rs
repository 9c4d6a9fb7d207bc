//! NVIDIA GPUs: devices, memory and kernels, and what they make of the operations ([`ops`]).
//!
//! The same bytes run after run: no operation here adds with atomics; which algorithm a library uses is written in a table
//! of this build (`convolutions.rs`) and never found out by timing or by what memory is free; every stream has handles and
//! workspaces of its own. What does not fit the table fails.
//!
//! A thread takes hold of a GPU with [`open`], [`Gpu::new`] and [`enter`]; from then on the operations of this crate
//! compute tensors of that device on it. Memory comes and goes through [`Pinned`], [`Staging`], [`Landing`] and [`Results`],
//! which know what is on its way.

mod convolutions;
mod devices;
mod flat;
mod gpu;
mod kernels;
mod landing;
mod numbers;
pub(crate) mod ops;
mod pinned;
mod products;
mod results;
mod targets;

pub use candle_core::cuda::CudaError;
pub(crate) use convolutions::{Convolution, Shape4};
pub use devices::{Found, describe, describe_class, found};
pub use flat::{Destination, Segment, add, gather};
pub(crate) use gpu::current;
pub use gpu::{Failure, Gpu, Queue, enter, in_words, leave, open};
pub use landing::{Landing, Staging};
pub use numbers::{Kind, Number, View, tensor};
pub(crate) use numbers::{by_kind, storage, view};
pub use ops::{Losses, cross_entropy};
pub use pinned::{COPIED_AT_ONCE, Pinned};
pub(crate) use products::{Matrix, Place, Product};
pub use results::Results;
pub(crate) use targets::RowLosses;
pub use targets::{TargetStaging, Targets};

#[cfg(test)]
mod tests;
