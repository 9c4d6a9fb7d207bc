//! The whole service in one process: coordinator, workers and users over loopback gRPC.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "service/determinism.rs"]
mod determinism;
#[path = "service/evaluations.rs"]
mod evaluations;
#[path = "service/family.rs"]
mod family;
#[path = "service/generic_client.rs"]
mod generic_client;
#[path = "service/in_process.rs"]
mod in_process;
#[path = "service/joining.rs"]
mod joining;
#[path = "service/limits.rs"]
mod limits;
#[path = "service/numbers.rs"]
mod numbers;
#[path = "service/parity.rs"]
mod parity;
#[path = "service/prepare_input.rs"]
mod prepare_input;
#[path = "service/recovery.rs"]
mod recovery;
#[path = "service/refused_workers.rs"]
mod refused_workers;
#[path = "service/requests.rs"]
mod requests;
#[path = "service/spec_input.rs"]
mod spec_input;
#[path = "service/steering.rs"]
mod steering;
#[path = "service/traces.rs"]
mod traces;
#[path = "service/transfers.rs"]
mod transfers;
#[path = "service/watched_workers.rs"]
mod watched_workers;
#[path = "service/watching.rs"]
mod watching;
#[path = "service/weights_input.rs"]
mod weights_input;
