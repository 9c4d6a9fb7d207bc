//! `delete`: removes jobs that have ended from a coordinator.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::args::Delete;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;

/// Deletes jobs in the given order, up to the first that cannot be deleted. Asks for confirmation on a terminal.
///
/// # Errors
/// If the user does not confirm, a job is unknown or has not ended, or the result cannot be printed.
pub(super) async fn run(args: &Delete, console: &Console) -> Result<(), CliError> {
    if !args.yes {
        let (input, error) = (io::stdin(), io::stderr());
        if !(input.is_terminal() && error.is_terminal()) {
            return Err(CliError::Usage("delete: give --yes, as there is no terminal to ask on".into()));
        }
        confirm(args.ids.len(), &mut input.lock(), &mut error.lock())?;
    }
    let client = Client::to(&args.remote).await?;
    for id in &args.ids {
        client.delete(id).await?;
        match console.json() {
            true => console.object(&Line::Deleted(id.clone()))?,
            false => console.result(format!("deleted {id}"))?,
        }
    }
    Ok(())
}

/// Asks whether `jobs` jobs are to be deleted. Everything but "y" and "yes" means that they are not.
fn confirm(jobs: usize, answers: &mut impl BufRead, question: &mut impl Write) -> Result<(), CliError> {
    let what = if jobs == 1 { "this job with its" } else { "these jobs with their" };
    // A failure means that nobody was asked, and so nobody answers.
    let _ = write!(question, "Delete {what} models and metrics? They cannot be recovered. [y/N] ");
    let _ = question.flush();
    let mut answer = String::new();
    let _ = answers.read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::Usage("delete: not confirmed, nothing was deleted".into())),
    }
}

#[cfg(test)]
mod tests;
