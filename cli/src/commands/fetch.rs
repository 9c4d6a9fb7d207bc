//! `fetch`: downloads a job's model and metrics.

use lookbehind_common::job::WhichCheckpoint;

use crate::args::Fetch;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::fetch;
use crate::interrupt::Interrupt;

/// Fetches a checkpoint.
///
/// # Errors
/// If there is no such job or checkpoint, the coordinator cannot be reached, or an output cannot be written.
pub(super) async fn run(args: &Fetch, console: &Console) -> Result<(), CliError> {
    let interrupt = Interrupt::listen()?;
    let which =
        if args.best { Some(WhichCheckpoint::BEST) } else { args.step.map(WhichCheckpoint::OuterStep) };
    let work = async {
        let client = Client::to(&args.remote).await?;
        Box::pin(fetch::fetch(&client, &args.id, which, (&args.out, args.force), console)).await
    };
    interrupt.unless(work, || "interrupted; the fetched files are not complete".to_owned()).await
}
