//! What coordinator, workers and command line share: the job specification, the layout of a model's tensors, the
//! optimizer family, the canonical reduction and keyed randomness.
//!
//! This crate is pure: no async runtime, no gRPC. Nothing here opens sockets or decides where files lie; files are read
//! and written where a caller says. How all this travels is the business of `lookbehind-proto`, which depends on this
//! crate and never the other way round.

#![forbid(unsafe_code)]

pub mod arena;
pub mod contribution;
pub mod digest;
pub mod ids;
pub mod job;
pub mod layout;
pub mod model_file;
pub mod optimizer;
pub mod random;
pub mod reduction;
pub mod sampling;
pub mod schedule;
pub mod target;

/// Version of this build; workers of another one are refused, since their arithmetic may differ.
pub const BUILD_VERSION: &str = env!("CARGO_PKG_VERSION");
