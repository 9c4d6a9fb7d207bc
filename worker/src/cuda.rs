//! NVIDIA GPUs: what the kernels of [`ops`](crate::ops) and the job of [`compute`](crate::compute) are built on.
//!
//! The same bytes run after run: no operation here adds with atomics; which algorithm a library uses is written in a table
//! of this build ([`convolutions`]) and never found out by timing or by what memory is free; every stream has handles and
//! workspaces of its own. What does not fit the table fails.

mod convolutions;
mod devices;
mod flat;
mod gpu;
pub(crate) mod kernels;
mod landing;
mod numbers;
mod pinned;
mod products;
mod results;
mod targets;

pub(crate) use candle_core::cuda::CudaError;
pub(crate) use convolutions::{Convolution, Shape4};
pub(crate) use devices::{Found, describe, describe_class, found};
pub(crate) use flat::{Destination, Segment, gather};
pub(crate) use gpu::{Gpu, current, enter, in_words, leave, open};
pub(crate) use landing::{Landing, Staging};
pub(crate) use numbers::{Kind, Number, View, by_kind, storage, tensor, view};
pub(crate) use pinned::{COPIED_AT_ONCE, Pinned};
pub(crate) use products::{Matrix, Place, Product};
pub(crate) use results::Results;
pub(crate) use targets::{RowLosses, TargetStaging, Targets};
