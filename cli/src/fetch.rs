//! Fetches what a coordinator keeps of a job: its outer steps, and the model of a checkpoint. The job need not be over.

use std::path::Path;

use lookbehind_common::job::WhichCheckpoint;
use lookbehind_proto::v1;

use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::follow::conclude;
use crate::job::job_toml;
use crate::output::Output;
use crate::output::model::Download;
use crate::output::summary::Tally;
use crate::watch::{Event, Watch};

/// Fetches the model of a checkpoint (of the newest one if none is named), and the metrics up to it, into a folder.
/// The results go to `console`.
///
/// # Errors
/// If there is no such job or checkpoint, the coordinator cannot be reached, or an output cannot be written.
pub async fn fetch(
    client: &Client,
    id: &str,
    which: Option<WhichCheckpoint>,
    (folder, force): (&Path, bool),
    console: &Console,
) -> Result<(), CliError> {
    let job = client.job_by_id(id).await?;
    // The download is opened first, so that a checkpoint that does not exist leaves the folder unchanged.
    let download = Download::open(client, id, which).await?;
    let mut output = Output::prepare(folder, &job_toml(&job)?, force, None)?;
    let model = download.save(&output.model()).await?;
    let tally = gather(Watch::new(client.clone(), id), model.outer_step, &mut output).await?;
    conclude(console, &job, &tally, Some(&output), Some(&model))
}

/// The outer steps that a job has done, in their order.
///
/// # Errors
/// If the coordinator refuses or cannot be reached.
pub async fn steps(client: &Client, job: &v1::Job) -> Result<Vec<v1::OuterStepMetrics>, CliError> {
    let mut watch = Watch::new(client.clone(), &job.id);
    let mut steps: Vec<v1::OuterStepMetrics> = Vec::new();
    while steps.last().map_or(0, |step| step.outer_step) < job.outer_step {
        match watch.next().await? {
            Event::Step(step) => steps.push(*step),
            Event::Over(_) => break,
            Event::Notice(_) | Event::Lost(_) => {}
        }
    }
    Ok(steps)
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
