//! `submit`: sends a job to a coordinator, and follows it if requested.

use std::path::Path;

use lookbehind_common::job::Setting;
use lookbehind_proto::json::JobJson;
use lookbehind_worker::data::RemoteData;
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::registry::Registry;

use crate::args::{Handover, Submit};
use crate::client::Client;
use crate::commands::watch::leaving;
use crate::console::Console;
use crate::error::CliError;
use crate::follow::Follow;
use crate::interrupt::Interrupt;
use crate::job::{JobSource, folder_of};
use crate::line::Line;
use crate::local;
use crate::output::Output;

/// Submits a job.
///
/// # Errors
/// If the job file is invalid, the coordinator refuses it or cannot be reached, or, with `--watch`, the job fails.
pub(super) async fn run(args: &Submit, console: &Console, registry: Registry) -> Result<(), CliError> {
    args.handover.check()?;
    let settings = &args.settings.set;
    let read = args.job.as_deref().map(|path| read(path, settings, registry)).transpose()?;
    let client = Client::to(&args.handover.remote).await?;
    let source = match (read, &args.from) {
        (Some(source), _) => source,
        (None, Some(id)) => JobSource::of_job(&client.job_by_id(id).await?, settings)?,
        (None, None) => return Err(CliError::Usage("submit: give a job file, or --from ID".to_owned())),
    };
    Box::pin(hand_over(&client, source, &args.handover, console)).await
}

/// Reads a job file. A file of initial weights that has to be converted needs the job's data, if only they say what the
/// samples are: they are looked for in the job file's folder.
fn read(path: &Path, settings: &[Setting], registry: Registry) -> Result<JobSource, CliError> {
    let backend = local::backend(registry, &folder_of(path), RemoteData::default(), 1, &DeviceChoice::Cpu)?;
    JobSource::read_with(path, settings, Some(&backend))
}

/// Queues a job, and follows it if that is wanted.
///
/// # Errors
/// If the coordinator refuses or cannot be reached, or the job is followed and fails.
pub(super) async fn hand_over(
    client: &Client,
    source: JobSource,
    args: &Handover,
    console: &Console,
) -> Result<(), CliError> {
    let source = source.with_labels(&args.labels)?;
    let output = Output::prepare_for(&args.out, &source)?;
    let job = Box::pin(source.submit(client)).await?;
    if console.json() {
        console.object(&Line::Job(Box::new(JobJson::from(&job))))?;
    } else {
        console.result(&job.id)?;
    }
    if !args.watch {
        return Ok(());
    }
    let id = job.id.clone();
    let interrupt = Interrupt::listen()?;
    let mut follow = Follow::new(console, client, job, output);
    interrupt.unless(follow.until_over(), || leaving(&id)).await?;
    follow.conclude().await
}
