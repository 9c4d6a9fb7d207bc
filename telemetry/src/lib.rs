//! Observability for the coordinator and the workers: logs, metrics, traces and health checks.
//!
//! - [`logs`]: log lines for people or for programs.
//! - [`metrics`]: counters and histograms in the format of Prometheus, and the usage of the process ([`process`]).
//! - [`traces`]: finished spans, sent to an OpenTelemetry collector.
//! - [`health`]: liveness and readiness; [`probe`] queries them.
//! - [`http`]: the server for these, with or without TLS.
//! - [`repeated`]: events of which the log gets one in a while.
//! - [`newcomers`] and [`source`]: what those get who have not said who they are, by where they come from.
//! - [`throttle`]: rates that make callers wait.
//!
//! Observation must not slow down or stop the program: queues are bounded, entries that do not fit are dropped, and
//! connections have limits.

#![forbid(unsafe_code)]

pub mod health;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod newcomers;
pub mod probe;
pub mod process;
pub mod repeated;
pub mod source;
pub mod throttle;
pub mod traces;

#[cfg(test)]
mod test_support;
