//! The whole service in one process: coordinator, workers and users over loopback gRPC.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "service/determinism.rs"]
mod determinism;
#[path = "service/evaluations.rs"]
mod evaluations;
#[path = "service/family.rs"]
mod family;
#[path = "service/parity.rs"]
mod parity;
