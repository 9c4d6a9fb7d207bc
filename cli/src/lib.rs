//! Lookbehind trains neural networks with sharpness-aware methods, on one machine or many. This is the first page of the
//! documentation of its code; the repository's `README.md` says how to use it, `ARCHITECTURE.md` how it is built.
//!
//! | crate | what it is |
//! | --- | --- |
//! | [`lookbehind_common`](../lookbehind_common/index.html) | what all share, without I/O: the job specification, layouts, the optimizer family, the reduction tree, keyed randomness |
//! | [`lookbehind_proto`](../lookbehind_proto/index.html) | the protocol: messages, services, conversions, JSON, transfers of flat buffers |
//! | [`lookbehind_identity`](../lookbehind_identity/index.html) | roles, certificates, tokens and TLS |
//! | [`lookbehind_telemetry`](../lookbehind_telemetry/index.html) | logs, metrics, traces, health, and an HTTP server with limits |
//! | [`lookbehind_coordinator`](../lookbehind_coordinator/index.html) | the process that owns jobs, optimizer and state on disk |
//! | [`lookbehind_worker`](../lookbehind_worker/index.html) | models and their gradients; the library for a worker with a model or data set of your own |
//! | [`lookbehind_kernels`](../lookbehind_kernels/index.html) | training kernels for Candle on CPUs and NVIDIA GPUs |
//! | [`lookbehind_data`](../lookbehind_data/index.html) | data sets, decoding and augmentation |
//! | `lookbehind`, on this page | the command line tool |
//! | `lookbehind-python`, a library for Python alone | the Python package `lookbehind`: the client of this crate, for `python/lookbehind` |
//! | [`lookbehind_data_fixtures`](../lookbehind_data_fixtures/index.html) | small images and Parquet files for tests and benchmarks of the data sets |
//! | [`lookbehind_tests`](../lookbehind_tests/index.html) | what the tests of the whole system share |
//!
//! # The command line tool as a library
//!
//! A program that calls [`run`] has all commands of `lookbehind`, with its own models and data sets in addition;
//! `cli/examples/train_custom_model.rs` is one.
//!
//! - [`args`]: commands and flags.
//! - [`commands`]: their implementation.
//! - [`client`], [`watch`], [`follow`], [`fetch`]: communication with a coordinator.
//! - [`local`]: a whole cluster inside this process.
//! - [`output`]: the files of a run.
//! - [`audit`]: comparison of two runs; [`changes`]: comparison of two job files.
//! - [`compare`]: runs side by side.
//! - [`study`]: many runs and what they show; [`chart`]: pictures.
//! - [`console`], [`progress`], [`report`], [`table`], [`text`], [`mod@line`]: output for people and programs.
//! - [`error`], [`exit`]: errors and exit codes.

#![forbid(unsafe_code)]

pub mod args;
pub mod audit;
pub mod changes;
pub mod chart;
pub mod client;
pub mod commands;
pub mod compare;
pub mod console;
pub mod error;
pub mod evaluate;
pub mod exit;
pub mod fetch;
pub mod follow;
pub mod interrupt;
pub mod job;
pub mod line;
pub mod local;
pub mod output;
pub mod progress;
pub mod report;
pub mod study;
pub mod table;
pub mod text;
pub mod watch;

#[cfg(test)]
mod fake_test;

use std::process::ExitCode;

use clap::Parser;
use lookbehind_worker::registry::Registry;

use crate::args::{Cli, Command};
use crate::console::Console;
use crate::error::CliError;
use crate::exit::Exit;

/// Runs the command line of this process. The workers of `train` use the models and data sets of `registry`:
/// [`Registry::builtin`], and those that the program adds.
pub fn run(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the message cannot be printed, the exit code still reports the outcome.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Success });
        }
    };
    let computes = |command: &Command| {
        matches!(command, Command::Train(_) | Command::Study(_) | Command::Evaluate(_) | Command::Predict(_))
    };
    if computes(&cli.command) {
        lookbehind_worker::threads::fix_number_of_threads();
    }
    let console = Console::new(cli.general.json);
    let exit = match carry_out(cli, &console, registry) {
        Ok(()) => Exit::Success,
        Err(CliError::StdoutClosed) => Exit::BrokenPipe,
        Err(error) => {
            console.say(format_args!("error: {error}"));
            error.exit()
        }
    };
    exit.into()
}

fn carry_out(cli: Cli, console: &Console, registry: Registry) -> Result<(), CliError> {
    console.start_logs(cli.log())?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|source| CliError::System { what: "cannot start threads", source })?;
    let result = runtime.block_on(commands::run(cli.command, console, registry));
    // Tasks that still run in the background hold no data that must be saved.
    runtime.shutdown_background();
    result
}
