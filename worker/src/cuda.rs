//! NVIDIA GPUs: what the kernels of [`ops`](crate::ops) and the job of [`compute`](crate::compute) are built on.
//!
//! The same bytes run after run: no operation here adds with atomics; which algorithm a library uses is written in a table
//! of this build ([`convolutions`]) and never found out by timing or by what memory is free; every stream has handles and
//! workspaces of its own. What does not fit the table fails.

mod convolutions;
mod devices;
mod gpu;
mod kernels;
mod numbers;
mod pinned;
mod products;

pub(crate) use candle_core::cuda::CudaError;
pub(crate) use convolutions::{Convolution, Shape4};
pub(crate) use devices::{Found, describe, describe_class, found};
pub(crate) use gpu::{Gpu, current, enter, in_words, leave, open};
pub(crate) use kernels::{Argument, Grid, PoolWindows};
pub(crate) use numbers::{Kind, Numbers, address, allocate, numbers, tensor, zeros};
pub(crate) use pinned::{Pinned, Staging, copy_in_parallel};
pub(crate) use products::{Batches, Matrix, Product};
