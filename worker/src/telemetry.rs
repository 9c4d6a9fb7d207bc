//! Monitoring of a worker from outside: its metrics, its liveness and readiness.

mod args;
mod metrics;
mod server;

pub(crate) use args::TelemetryArgs;
pub use metrics::WorkerMetrics;
pub(crate) use metrics::{Computed, Failure, Registered};
pub use server::{ServeError, Server};
