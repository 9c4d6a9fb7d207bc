//! What coordinator, workers and command line share: the job specification, the layout of a model's tensors, the
//! optimizer family, the reduction tree and keyed randomness.
//!
//! This crate has no async runtime and no gRPC. It opens no sockets and does not choose paths: the caller says where
//! files are read and written. The wire format is in `lookbehind-proto`, which depends on this crate; this crate must
//! not depend on it.

#![forbid(unsafe_code)]

pub mod blocks;
pub mod digest;
pub mod evaluate;
pub mod exchange_format;
pub mod flat_buffer;
pub mod ids;
pub mod job;
pub mod layout;
pub mod model_file;
pub mod model_state;
pub mod optimizer;
pub mod partial;
pub mod random;
pub mod reduction;
pub mod sampling;
pub mod schedule;
pub mod selection;
pub mod target;
pub mod test_set;
pub mod text;

/// Version of this build. The coordinator refuses workers with another version, because their arithmetic may differ.
pub const BUILD_VERSION: &str = env!("CARGO_PKG_VERSION");
