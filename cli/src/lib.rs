//! The command line tool as a library: [`run`] is what a program calls to be `lookbehind` with models and data
//! sets of its own.
//!
//! - [`args`]: the table of flags.
//! - [`commands`]: what they do.
//! - [`client`], [`watch`], [`follow`]: the conversation with a coordinator.
//! - [`local`]: a whole cluster inside this process.
//! - [`output`]: what a run leaves on disk.
//! - [`audit`]: two runs side by side.
//! - [`console`], [`progress`], [`report`], [`table`], [`text`], [`json`], [`line`]: what people and
//!   programs read.
//! - [`error`], [`exit`]: how a command can end.

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
pub mod json;
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

/// Runs the command line of this process. The workers of `train` know what is in `registry`:
/// [`Registry::builtin`], and whatever the program adds.
pub fn run(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where help or the complaint cannot be printed, its exit code still tells.
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
    // Whatever still runs in the background holds nothing that has to be saved.
    runtime.shutdown_background();
    result
}
