//! The coordinator of Lookbehind: takes jobs, splits every batch over workers, reduces their gradients in a
//! canonical order, applies the optimizer and serves the new weights. It knows neither models nor data sets.

#![forbid(unsafe_code)]

mod config;
mod grpc;
mod http;
mod observe;
mod program;
mod runtime;
mod server;
pub mod state;
pub mod store;
pub mod training;

pub use config::{Config, ConfigError};
pub use program::main;
pub use server::{Coordinator, StartError};
