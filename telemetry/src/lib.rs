//! What can be watched of a running program, for coordinator and workers alike: what they say and where it is asked
//! for.
//!
//! - [`logs`]: lines for people or for programs.
//! - [`metrics`]: counters and times as Prometheus reads them, and what the process takes ([`process`]).
//! - [`traces`]: finished spans, sent to an OpenTelemetry collector.
//! - [`health`]: whether it lives, whether it can be used; [`probe`] asks.
//! - [`http`]: the server that answers, with or without TLS.
//!
//! Nothing here may slow down or end what is watched: queues are bounded, what does not fit is dropped,
//! and connections have limits.

#![forbid(unsafe_code)]

pub mod health;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod probe;
pub mod process;
pub mod traces;

#[cfg(test)]
mod test_support;
