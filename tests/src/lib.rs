//! Shared by the tests of the whole service.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

pub mod bench;
pub mod client;
pub mod cluster;
pub mod fake_worker;
pub mod files;
pub mod guarded;
pub mod http;
pub mod jobs;
pub mod machines;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod reference;
pub mod relay;
pub mod scripted;
pub mod toy;
pub mod unfinished;
pub mod volume;
