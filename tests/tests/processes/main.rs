//! The programs as users run them: processes that are asked to stop, killed, frozen, and started again.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod audit;
mod backup;
mod brought;
mod connections;
mod crashes;
mod disk;
mod equal_files;
mod faults;
mod first_use;
mod handover;
mod lifecycle;
mod loading;
mod programs;
mod studies;
mod watched;
mod webhooks;
