//! `fetch`: downloads a job's model and metrics. The job need not be over.

use crate::args::Fetch;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::follow::conclude;
use crate::interrupt::Interrupt;
use crate::job::job_toml;
use crate::output::Output;
use crate::output::model::Download;
use crate::output::summary::Tally;
use crate::watch::{Event, Watch};

/// Fetches a checkpoint.
///
/// # Errors
/// If there is no such job or checkpoint, the coordinator cannot be reached, or an output cannot be written.
pub(super) async fn run(args: &Fetch, console: &Console) -> Result<(), CliError> {
    let interrupt = Interrupt::listen()?;
    interrupt
        .unless(fetch(args, console), || "interrupted; the fetched files are not complete".to_owned())
        .await
}

async fn fetch(args: &Fetch, console: &Console) -> Result<(), CliError> {
    let client = Client::to(&args.remote).await?;
    let job = client.job_by_id(&args.id).await?;
    // The download is opened first, so that a checkpoint that does not exist leaves the folder unchanged.
    let download = Download::open(&client, &args.id, args.step).await?;
    let mut output = Output::prepare(&args.out, &job_toml(&job)?, args.force, None)?;
    let model = download.save(&output.model()).await?;
    let tally = gather(Watch::new(client, &args.id), model.outer_step, &mut output).await?;
    conclude(console, &job, &tally, Some(&output), Some(&model))
}

/// Writes the metrics of the first `outer_steps` outer steps.
async fn gather(mut watch: Watch, outer_steps: u64, output: &mut Output) -> Result<Tally, CliError> {
    let mut tally = Tally::default();
    while tally.outer_steps() < outer_steps {
        match watch.next().await? {
            Event::Notice(notice) => output.notice(&notice),
            Event::Step(step) if step.outer_step <= outer_steps => {
                output.step(&step)?;
                tally.step(&step);
            }
            Event::Step(_) | Event::Over(_) => break,
            Event::Lost(_) => {}
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests;
