//! Metrics in the format of Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::process::Process;

/// Content type of the responses of [`router`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Histogram buckets in seconds for durations from microseconds to seconds: a shard, a reduction.
const SHORT: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Histogram buckets in seconds for durations from milliseconds to an hour: an outer step, a checkpoint, a wait in a
/// queue.
const LONG: [f64; 16] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];

/// The only label of a series whose label values are known in advance: name and value.
pub type Label = [(&'static str, &'static str); 1];

/// A family with one series for each value of its label.
pub type ByLabel<M> = Family<Label, M>;

/// Direction of a tensor transfer, from the point of view of the program that counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Tensors received.
    Received,
    /// Tensors sent.
    Sent,
}

impl Direction {
    /// All directions.
    pub const ALL: [Self; 2] = [Self::Received, Self::Sent];

    /// The label `direction` of this direction.
    pub fn label(self) -> Label {
        match self {
            Self::Received => [("direction", "received")],
            Self::Sent => [("direction", "sent")],
        }
    }
}

/// A counter of seconds: `inc_by(duration.as_secs_f64())`.
pub type Seconds = Counter<f64, AtomicU64>;

/// A histogram in seconds for durations from microseconds to seconds.
pub fn short_times() -> Histogram {
    Histogram::new(SHORT)
}

/// A histogram in seconds for durations from milliseconds to an hour.
pub fn long_times() -> Histogram {
    Histogram::new(LONG)
}

/// A registry with the metrics that every program has: `lookbehind_build_info` and the usage of the process.
pub fn registry(version: &str) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new([("version", version.to_owned())]);
    registry.register("lookbehind_build", "The program's version", build);
    registry.register_collector(Box::new(Process));
    registry
}

/// Serves `/metrics`: all metrics of the registry as OpenMetrics text.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(registry)
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
