//! `watch`: follows a submitted job.

use crate::args::OneJob;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::follow::Follow;
use crate::interrupt::Interrupt;

/// Follows a job until it is over.
///
/// # Errors
/// If the job fails, the coordinator refuses or cannot be reached, or the user interrupts.
pub(super) async fn run(args: &OneJob, console: &Console) -> Result<(), CliError> {
    let interrupt = Interrupt::listen()?;
    let client = Client::to(&args.remote).await?;
    let job = client.job_by_id(&args.id).await?;
    let mut follow = Follow::new(console, &client, job, None);
    interrupt.unless(follow.until_over(), || leaving(&args.id)).await?;
    follow.conclude().await
}

/// The message for a user who stops watching: it says that the job continues.
pub(super) fn leaving(id: &str) -> String {
    format!(
        "interrupted; job {id} goes on: `lookbehind watch {id}` follows it, `lookbehind cancel {id}` ends it"
    )
}
