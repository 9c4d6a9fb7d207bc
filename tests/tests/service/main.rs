//! The whole service in one process: coordinator, workers and users over loopback gRPC.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod batch_statistics;
mod climb_orders;
mod determinism;
mod evidence;
mod exchange;
mod exchange_format;
mod failing_transfers;
mod family;
mod generic_client;
mod gradients;
mod in_process;
mod indexed_data;
mod joining;
mod json;
mod kept_jobs;
mod liars;
mod limits;
mod lists;
mod loading;
mod lying_owners;
mod non_finite;
mod parity;
mod per_shard;
mod prepare_input;
mod recovery;
mod refused_workers;
mod requests;
mod retrying;
mod same_data;
mod selecting;
mod sharing;
mod spec_input;
mod starting;
mod steering;
mod traces;
mod transfers;
mod upgrades;
mod uploads;
mod verification;
mod watched_workers;
mod watching;
mod webhooks;
mod weights_input;
