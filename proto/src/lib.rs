//! The wire protocol of Lookbehind: everything about gRPC and protobuf that coordinator, workers and command line
//! share.
//!
//! - [`v1`]: the messages and services of package `lookbehind.v1`, generated from `lookbehind/v1/*.proto`
//! - [`wire`]: conversions between a job file and its message; [`convert`]: conversions of identifiers and segments of
//!   the reduction tree
//! - [`json`]: jobs, workers, notices and outer steps as JSON, for the command line and the HTTP interface
//! - [`transfer`]: flat buffers in chunks with checksums
//!
//! The generated code is checked in, so that a build needs no protobuf compiler, neither the system's nor one in Rust.
//! `tests/generated.rs` fails if the code differs from the `.proto` files, and says how to update it.

#![forbid(unsafe_code)]

pub mod convert;
mod description;
pub mod json;
mod parameters;
pub mod transfer;
pub mod wire;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use description::DescriptionError;

/// Version of the wire protocol. The coordinator refuses workers with another version.
pub const PROTOCOL_VERSION: u32 = 1;

/// Shortest and longest time of silence after which coordinator and worker may consider each other lost. Coordinators
/// refuse other settings, and workers refuse coordinators with other ones.
pub const FAILURE_DETECTION: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// Messages and services of the package `lookbehind.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    // Included and not a module file, so that the formatter leaves the code as its generator wrote it.
    include!("generated/lookbehind.v1.rs");
}

/// The encoded file descriptors of the package, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/lookbehind.v1.bin");
