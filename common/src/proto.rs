//! The generated types and services of `proto/lookbehind/v1`.

/// Package `lookbehind.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("lookbehind.v1");
}

/// The encoded file descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lookbehind_descriptor.bin"));
