//! The wire of Lookbehind: everything that knows gRPC and protobuf and is shared by coordinator, workers and command
//! line.
//!
//! - [`v1`]: the messages and services of package `lookbehind.v1`, generated from `lookbehind/v1/*.proto`
//! - [`wire`]: a job file and its message, both ways; [`convert`]: identifiers, segments of the reduction tree and
//!   descriptions of jobs
//! - [`transfer`]: flat buffers in chunks with their checksums
//!
//! The generated code is checked in, so that a build needs no protobuf compiler, neither the system's nor one in Rust.
//! `tests/generated.rs` fails where it differs from the `.proto` files and says how to update it.

#![forbid(unsafe_code)]

pub mod convert;
mod description;
mod parameters;
pub mod transfer;
pub mod wire;

pub use description::DescriptionError;

/// Version of the wire protocol; coordinator and workers must agree on it.
pub const PROTOCOL_VERSION: u32 = 1;

/// Package `lookbehind.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    // Included, since the formatter leaves included code as its generator wrote it.
    include!("generated/lookbehind.v1.rs");
}

/// The encoded file descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/lookbehind.v1.bin");
