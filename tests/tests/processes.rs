//! The programs as users run them: processes that are told to end, killed, frozen, and started again.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "processes/audit.rs"]
mod audit;
#[path = "processes/connections.rs"]
mod connections;
#[path = "processes/crashes.rs"]
mod crashes;
#[path = "processes/disk.rs"]
mod disk;
#[path = "processes/equal_files.rs"]
mod equal_files;
#[path = "processes/faults.rs"]
mod faults;
#[path = "processes/handover.rs"]
mod handover;
#[path = "processes/lifecycle.rs"]
mod lifecycle;
#[path = "processes/machines.rs"]
mod machines;
#[path = "processes/programs.rs"]
mod programs;
#[path = "processes/volume.rs"]
mod volume;
#[path = "processes/watched.rs"]
mod watched;
