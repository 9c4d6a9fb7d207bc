//! `continue`: a new job that goes on where one that has succeeded stopped, with more epochs or outer steps.

use lookbehind_common::job::{InitialJob, Setting};
use lookbehind_proto::json::state_name;
use lookbehind_proto::v1;

use crate::args::Continue;
use crate::client::Client;
use crate::commands::submit::hand_over;
use crate::console::Console;
use crate::error::CliError;
use crate::job::JobSource;

/// Continues a job.
///
/// # Errors
/// If the job has not succeeded or is as long already, or as for `submit`.
pub(super) async fn run(args: &Continue, console: &Console) -> Result<(), CliError> {
    args.handover.check()?;
    let client = Client::to(&args.handover.remote).await?;
    let job = client.job_by_id(&args.id).await?;
    let mut settings = continuing(&job, args.epochs, args.steps)?;
    settings.extend(args.settings.set.iter().cloned());
    let source = JobSource::of_job(&job, &settings)?;
    Box::pin(hand_over(&client, source, &args.handover, console)).await
}

/// The changes that make a job go on, up to a length in all.
fn continuing(job: &v1::Job, epochs: Option<u64>, steps: Option<u64>) -> Result<Vec<Setting>, CliError> {
    let wrong = |problem: String| Err(CliError::Usage(format!("continue: job {} {problem}", job.id)));
    if job.state() != v1::JobState::Succeeded {
        let state = state_name(job.state());
        return wrong(format!(
            "is {state}, and only a job that has succeeded goes on with more; `lookbehind retry` goes on with one that \
             has failed or was cancelled, `lookbehind resume` with one that is paused"
        ));
    }
    let length = job.spec.as_ref().and_then(|spec| spec.train.as_ref());
    let (key, before, after) = match (length.and_then(|train| train.epochs), epochs, steps) {
        (Some(before), Some(after), _) => ("epochs", before, after),
        (None, _, Some(after)) => ("steps", job.total_outer_steps, after),
        (Some(_), None, _) => return wrong("counts epochs: give --epochs".to_owned()),
        (None, _, None) => return wrong("counts outer steps: give --steps".to_owned()),
    };
    let Some(after) = i64::try_from(after).ok().filter(|_| after > before) else {
        return wrong(format!("has {before} {key}: expected more than these in all, found --{key} {after}"));
    };
    let from = InitialJob { job: job.id.clone(), checkpoint: Some(job.outer_step.into()), continues: true };
    let from = toml::Value::try_from(from).map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(vec![Setting::new(&format!("train.{key}"), after), Setting::new("model.init", from)])
}

#[cfg(test)]
mod tests;
