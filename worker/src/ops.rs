//! Training kernels: operations with gradients of their own, where the tensor library's are slow or differ from
//! the published definitions.
//!
//! A kernel gives the same bytes whatever the number of threads and whatever runs beside it. Its transcendental
//! functions come from a pinned pure-Rust library.

pub mod cross_entropy;
mod linear;
mod relu;
mod storage;

pub use linear::linear;
pub use relu::relu;
pub(crate) use storage::{copy_from, copy_into};
