//! The commands, grouped by file.

mod audit;
mod certs;
mod compare;
mod completions;
mod continuing;
mod delete;
mod evaluate;
mod export;
mod fetch;
mod jobs;
mod predict;
mod study;
mod subject;
mod submit;
mod train;
mod validate;
mod watch;

use lookbehind_worker::registry::Registry;

use crate::args::Command;
use crate::console::Console;
use crate::error::CliError;

/// Runs a command. `registry` holds the models and data sets that the workers of `train` can use.
///
/// # Errors
/// The reason why the command ended early.
pub async fn run(command: Command, console: &Console, registry: Registry) -> Result<(), CliError> {
    match command {
        Command::Train(args) => Box::pin(train::run(&args, console, registry)).await,
        Command::Submit(args) => Box::pin(submit::run(&args, console, registry)).await,
        Command::Continue(args) => Box::pin(continuing::run(&args, console)).await,
        Command::Jobs(args) => jobs::list(&args, console).await,
        Command::Job(args) => jobs::show(&args, console).await,
        Command::Watch(args) => Box::pin(watch::run(&args, console)).await,
        Command::Cancel(args) => jobs::cancel(&args, console).await,
        Command::Pause(args) => jobs::pause(&args, console).await,
        Command::Resume(args) => jobs::resume(&args, console).await,
        Command::Retry(args) => jobs::retry(&args, console).await,
        Command::Delete(args) => delete::run(&args, console).await,
        Command::Workers(remote) => jobs::workers(&remote, console).await,
        Command::Checkpoints(args) => jobs::checkpoints(&args, console).await,
        Command::Fetch(args) => Box::pin(fetch::run(&args, console)).await,
        Command::Audit(args) => Box::pin(audit::run(&args, console)).await,
        Command::Compare(args) => Box::pin(compare::run(&args, console)).await,
        Command::Study(args) => Box::pin(study::run(&args, console, registry)).await,
        Command::Evaluate(args) => Box::pin(evaluate::run(&args, console, registry)).await,
        Command::Predict(args) => Box::pin(predict::run(&args, console, registry)).await,
        Command::Export(args) => Box::pin(export::run(&args, console, registry)).await,
        Command::Validate(args) => validate::run(&args, console, registry),
        Command::Certs(args) => certs::run(&args, console),
        Command::Completions(args) => completions::run(&args, console),
    }
}
