//! `completions`: a script with which a shell completes commands and flags.

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::console::Console;
use crate::error::CliError;

/// Prints the completions.
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn run(args: &Completions, console: &Console) -> Result<(), CliError> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    // Generated in memory, because the generator panics if standard output is closed.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    console.text(&text)
}
