//! The command line tool as a library. A program that calls [`run`] has all commands of `lookbehind`, with its own
//! models and data sets in addition.
//!
//! - [`args`]: commands and flags.
//! - [`commands`]: their implementation.
//! - [`client`], [`watch`], [`follow`]: communication with a coordinator.
//! - [`local`]: a whole cluster inside this process.
//! - [`output`]: the files of a run.
//! - [`audit`]: comparison of two runs.
//! - [`console`], [`progress`], [`report`], [`table`], [`text`], [`mod@line`]: output for people and programs.
//! - [`error`], [`exit`]: errors and exit codes.

#![forbid(unsafe_code)]

pub mod args;
pub mod audit;
pub mod client;
pub mod commands;
pub mod console;
pub mod error;
pub mod exit;
pub mod follow;
pub mod interrupt;
pub mod job;
pub mod line;
pub mod local;
pub mod output;
pub mod progress;
pub mod report;
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
    if matches!(cli.command, Command::Train(_)) {
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
    console.start_logs(&cli.general.log)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|source| CliError::System { what: "cannot start threads", source })?;
    let result = runtime.block_on(commands::run(cli.command, console, registry));
    // Tasks that still run in the background hold no data that must be saved.
    runtime.shutdown_background();
    result
}
