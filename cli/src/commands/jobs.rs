//! `jobs`, `job`, `cancel`, `pause`, `resume` and `workers`: commands that make a single call.

use lookbehind_proto::json::{JobJson, WorkerJson};
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
    let jobs = connect(&args.remote).await?.jobs(args.limit as usize).await?;
    if console.json() {
        return console.object(&Line::Jobs(jobs.iter().map(JobJson::from).collect()));
    }
    print(console, &report::jobs(&jobs))
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
