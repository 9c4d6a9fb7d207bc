//! What can be watched of a worker from outside: its metrics, and whether it lives and is registered.

mod args;
mod metrics;
mod server;

pub(crate) use args::TelemetryArgs;
pub use metrics::WorkerMetrics;
pub(crate) use metrics::{Computed, Failure, Registered};
pub use server::{ServeError, Server};
