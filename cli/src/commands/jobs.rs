//! `jobs`, `job`, `cancel`, `pause`, `resume`, `retry`, `checkpoints` and `workers`: commands that make a single call.

use lookbehind_proto::json::{CheckpointJson, JobJson, WorkerJson, state_named};
use lookbehind_proto::v1;

use crate::args::{Jobs, OneJob, Remote, Resume};
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;
use crate::report;

/// Lists jobs.
///
/// # Errors
/// If the call fails or the result cannot be printed. This applies to all commands of this module.
pub(super) async fn list(args: &Jobs, console: &Console) -> Result<(), CliError> {
    let limit = if args.all { usize::MAX } else { args.limit as usize };
    let (jobs, has_more) = connect(&args.remote).await?.jobs(wanted(args), limit).await?;
    if console.json() {
        console.object(&Line::Jobs(jobs.iter().map(JobJson::from).collect()))?;
    } else {
        print(console, &report::jobs(&jobs))?;
    }
    if has_more {
        console.say(format_args!(
            "there are more jobs than these {limit}: --all or a larger --limit shows them"
        ));
    }
    Ok(())
}

/// The filters of the command line.
fn wanted(args: &Jobs) -> v1::ListJobsRequest {
    v1::ListJobsRequest {
        states: args.states.iter().filter_map(|name| state_named(name)).map(i32::from).collect(),
        owner: args.owner.clone().unwrap_or_default(),
        name: args.name.clone().unwrap_or_default(),
        labels: args.labels.iter().cloned().collect(),
        ..v1::ListJobsRequest::default()
    }
}

/// Shows one job.
pub(super) async fn show(args: &OneJob, console: &Console) -> Result<(), CliError> {
    tell(console, &connect(&args.remote).await?.job_by_id(&args.id).await?)
}

/// Cancels a job.
pub(super) async fn cancel(args: &OneJob, console: &Console) -> Result<(), CliError> {
    tell(console, &connect(&args.remote).await?.cancel(&args.id).await?)
}

/// Pauses a job.
pub(super) async fn pause(args: &OneJob, console: &Console) -> Result<(), CliError> {
    let job = connect(&args.remote).await?.pause(&args.id).await?;
    if console.json() {
        return tell(console, &job);
    }
    print(console, &report::pausing(&job))
}

/// Resumes a job.
pub(super) async fn resume(args: &Resume, console: &Console) -> Result<(), CliError> {
    let client = connect(&args.job.remote).await?;
    tell(console, &client.resume(&args.job.id, args.accept_class).await?)
}

/// Goes on with a failed or cancelled job.
pub(super) async fn retry(args: &OneJob, console: &Console) -> Result<(), CliError> {
    tell(console, &connect(&args.remote).await?.retry(&args.id).await?)
}

/// Lists the checkpoints of a job.
pub(super) async fn checkpoints(args: &OneJob, console: &Console) -> Result<(), CliError> {
    let checkpoints = connect(&args.remote).await?.checkpoints(&args.id).await?;
    if console.json() {
        return console.object(&Line::Checkpoints(checkpoints.iter().map(CheckpointJson::from).collect()));
    }
    print(console, &report::checkpoints(&checkpoints))
}

/// Lists workers.
pub(super) async fn workers(remote: &Remote, console: &Console) -> Result<(), CliError> {
    let workers = connect(remote).await?.workers().await?;
    if console.json() {
        return console.object(&Line::Workers(workers.iter().map(WorkerJson::from).collect()));
    }
    print(console, &report::workers(&workers))
}

async fn connect(remote: &Remote) -> Result<Client, CliError> {
    Client::to(remote).await
}

fn tell(console: &Console, job: &v1::Job) -> Result<(), CliError> {
    if console.json() {
        return console.object(&Line::Job(Box::new(JobJson::from(job))));
    }
    print(console, &report::job(job))
}

fn print(console: &Console, lines: &[String]) -> Result<(), CliError> {
    lines.iter().try_for_each(|line| console.result(line))
}
