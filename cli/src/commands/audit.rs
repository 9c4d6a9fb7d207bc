//! `audit`: whether two runs are equal, and where they first differ.

use std::path::Path;

use lookbehind_common::ids::JobId;

use crate::args::{Audit as Args, Remote};
use crate::audit::{AuditStep, compare};
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;
use crate::watch::{Event, Watch};

const METRICS: &str = "metrics.jsonl";

/// Compares two runs.
///
/// # Errors
/// When they differ, or one of them cannot be read.
pub(super) async fn run(args: &Args, console: &Console) -> Result<(), CliError> {
    let first = steps(&args.first, &args.remote).await?;
    let second = steps(&args.second, &args.remote).await?;
    let audit = compare(&first, &second);
    if console.json() {
        console.object(&Line::Audit(&audit))?;
    }
    match audit.difference {
        Some(difference) => {
            Err(CliError::Differ { outer_step: difference.outer_step, what: difference.what.join("; ") })
        }
        None if console.json() => Ok(()),
        None => console.result(format!("the same in all {} outer steps", audit.same_outer_steps)),
    }
}

/// The outer steps of a job on the coordinator or of an output folder. An existing path takes precedence over a job.
async fn steps(run: &str, remote: &Remote) -> Result<Vec<AuditStep>, CliError> {
    let path = Path::new(run);
    if !path.exists()
        && let Some(id) = JobId::parse(run)
    {
        return of_job(id.as_str(), remote).await;
    }
    of_file(&if path.is_dir() { path.join(METRICS) } else { path.to_owned() })
}

/// The outer steps that the job has completed so far.
async fn of_job(id: &str, remote: &Remote) -> Result<Vec<AuditStep>, CliError> {
    let client = Client::to(remote).await?;
    let done = client.job_by_id(id).await?.outer_step;
    let (mut watch, mut steps) = (Watch::new(client, id), Vec::new());
    while (steps.len() as u64) < done {
        match watch.next().await? {
            Event::Step(step) => steps.push(AuditStep::from(step.as_ref())),
            Event::Over(_) => break,
            Event::Notice(_) | Event::Lost(_) => {}
        }
    }
    Ok(steps)
}

fn of_file(path: &Path) -> Result<Vec<AuditStep>, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| CliError::Usage(format!("{}: line {}: {error}", path.display(), index + 1)))
    };
    text.lines().enumerate().map(parse).collect()
}
