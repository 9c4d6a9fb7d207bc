//! `compare`: runs side by side.

use std::path::Path;

use lookbehind_common::ids::JobId;

use crate::args::{Compare, Remote};
use crate::client::Client;
use crate::compare::{ComparedRun, Side, differing, picture};
use crate::console::Console;
use crate::error::CliError;
use crate::job::{JobSource, job_toml};
use crate::line::Line;
use crate::output::{JOB, METRICS, write_whole};
use crate::table::Table;
use crate::text::percent;
use crate::watch::{Event, Watch};
use lookbehind_proto::json::StepJson;

/// Compares runs.
///
/// # Errors
/// If a run cannot be read, or the picture cannot be written.
pub(super) async fn run(args: &Compare, console: &Console) -> Result<(), CliError> {
    let mut sides = Vec::new();
    for run in &args.runs {
        sides.push(side(run, &args.remote).await?);
    }
    if let Some(path) = &args.picture {
        write_whole(path, picture(&sides).as_bytes())?;
    }
    let keys = differing(&sides);
    if console.json() {
        let compared = sides.iter().map(|side| ComparedRun::new(side, &keys)).collect();
        return console.object(&Line::Compared(compared));
    }
    let mut heads = vec!["RUN", "STEPS", "GRADIENTS", "LAST", "BEST", "SELECTED"];
    heads.extend(keys.iter().map(String::as_str));
    heads.push("DIGEST");
    let mut table = Table::new(&heads);
    for side in &sides {
        let evaluations = side.evaluations;
        let accuracy = |value: Option<f64>| value.map_or("–".to_owned(), percent);
        let mut cells = vec![
            side.name.clone(),
            side.outer_steps.to_string(),
            side.gradients.to_string(),
            accuracy(evaluations.test.map(|test| test.metrics.accuracy)),
            accuracy(evaluations.best.map(|best| best.metrics.accuracy)),
            accuracy(evaluations.selected.and_then(|selected| selected.test).map(|test| test.accuracy)),
        ];
        cells.extend(keys.iter().map(|key| side.value(key)));
        cells.push(side.digest.chars().take(16).collect());
        table.row(cells);
    }
    table.lines().iter().try_for_each(|line| console.result(line))
}

/// A job on the coordinator or an output folder. An existing path takes precedence over a job.
async fn side(run: &str, remote: &Remote) -> Result<Side, CliError> {
    let path = Path::new(run);
    if !path.exists()
        && let Some(id) = JobId::parse(run)
    {
        return of_job(id.as_str(), remote).await;
    }
    of_folder(run, path)
}

async fn of_job(id: &str, remote: &Remote) -> Result<Side, CliError> {
    let client = Client::to(remote).await?;
    let job = client.job_by_id(id).await?;
    let text = job_toml(&job)?;
    let source = JobSource::parse(format!("job {id}"), text, ".".into(), None)?;
    let mut side = Side::new(id, source.file());
    let mut watch = Watch::new(client, id);
    while side.outer_steps < job.outer_step {
        match watch.next().await? {
            Event::Step(step) => side.step(&StepJson::from(step.as_ref())),
            Event::Over(_) => break,
            Event::Notice(_) | Event::Lost(_) => {}
        }
    }
    Ok(side)
}

fn of_folder(name: &str, folder: &Path) -> Result<Side, CliError> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|error| CliError::read(&path, error))
    };
    let source = crate::compare::job_file(&folder.join(JOB), &read(JOB)?)?;
    let mut side = Side::new(name, &source);
    for (line, number) in read(METRICS)?.lines().zip(1..) {
        let step: StepJson = serde_json::from_str(line).map_err(|error| {
            CliError::Usage(format!("{}: line {number}: {error}", folder.join(METRICS).display()))
        })?;
        side.step(&step);
    }
    Ok(side)
}
