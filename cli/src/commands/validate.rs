//! `validate`: checks a job file without or with its model and data.

use lookbehind_common::job::{Length, Method};
use lookbehind_common::optimizer::{Visit, gradients_per_outer_step, requests_per_outer_step};
use lookbehind_common::text::counted;
use lookbehind_worker::compute::{Backend, PrepareError};
use lookbehind_worker::data::Cancellation;
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::registry::Registry;

use crate::args::Validate;
use crate::console::Console;
use crate::error::CliError;
use crate::job::JobSource;
use crate::line::{Line, Valid};
use crate::local;

/// Checks a job file.
///
/// # Errors
/// If a file cannot be read or a key is invalid.
pub(super) fn run(args: &Validate, console: &Console, registry: Registry) -> Result<(), CliError> {
    let source = JobSource::read(&args.job)?;
    let Checked { not_checked, data } = check(args, &source, registry)?;
    let method = &source.spec.optimizer.method;
    let (gradients, rounds) = (gradients_per_outer_step(method), requests_per_outer_step(method));
    if console.json() {
        return console.object(&Line::Valid(Box::new(Valid {
            file: source.label.clone(),
            spec: source.file().clone(),
            gradients_per_outer_step: gradients,
            rounds_per_outer_step: rounds,
            data,
            not_checked,
        })));
    }
    let not_checked = not_checked.map(|what| format!("not checked without --data: {what}"));
    let described = describe(&source, gradients);
    let verified = verified(&source, rounds);
    let visits = visits(method, rounds);
    described
        .iter()
        .chain(&visits)
        .chain(&verified)
        .chain(&data)
        .chain(&not_checked)
        .try_for_each(|line| console.result(line))
}

/// What the check of a job said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Checked {
    /// What could not be checked.
    not_checked: Option<String>,
    /// What was read of the data, in lines.
    data: Vec<String>,
}

/// Checks model, data and initial weights as far as they are available.
fn check(args: &Validate, source: &JobSource, registry: Registry) -> Result<Checked, CliError> {
    let wrong = |error: PrepareError| CliError::Usage(format!("{}: {error}", source.label));
    let folder = args.data.as_deref().unwrap_or(&source.folder);
    let backend = local::backend(registry, folder, args.remote.clone().into_data(), 1, &DeviceChoice::Cpu)?;
    if args.data.is_some() {
        let job = backend.prepare(&source.spec, &Cancellation::default()).map_err(wrong)?;
        source.check_init(&job.description().layout)?;
        let report = backend.data_report(&source.spec).map_err(wrong)?;
        return Ok(Checked { not_checked: None, data: report.lines() });
    }
    let not_checked = match backend.build(&source.spec) {
        Ok(layout) => {
            source.check_init(&layout)?;
            "the data, and that shards of it can be computed".to_owned()
        }
        Err(PrepareError::Worker(reason)) => {
            let init = source.init.as_ref().map_or("", |_| ", initial weights");
            format!("model{init} and data ({reason})")
        }
        Err(error) => return Err(wrong(error)),
    };
    Ok(Checked { not_checked: Some(not_checked), data: Vec::new() })
}

fn describe(source: &JobSource, gradients: u64) -> [String; 3] {
    let spec = &source.spec;
    let length = match spec.train.length {
        Length::Epochs(epochs) => counted(epochs, "epoch"),
        Length::Steps(steps) => counted(steps, "outer step"),
    };
    let (batch, shards) = (spec.train.batch_size, spec.train.shards);
    let batches = match spec.optimizer.method.batches_per_outer_step() {
        1 => "one batch".to_owned(),
        batches => format!("{batches} batches"),
    };
    [
        format!("{}: valid", source.label),
        format!(
            "{length} of batches of {} in {}",
            counted(batch, "sample"),
            counted(u64::from(shards), "shard")
        ),
        format!("{} on {batches} per outer step", counted(gradients, "gradient")),
    ]
}

/// The rounds of communication, if shards climb by themselves.
fn visits(method: &Method, rounds: u64) -> Option<String> {
    let plural = |count: u64, what: &str| match count {
        1 => format!("one {what}"),
        count => format!("{count} {what}s"),
    };
    Visit::of(method).map(|visit| {
        format!(
            "optimizer.perturbation \"shard\": {} of {} per outer step",
            plural(rounds, "round"),
            plural(visit.descents().into(), "gradient")
        )
    })
}

/// What `resources.verify` costs; `None` without it. A segment that holds a drawn shard is computed twice, and each worker
/// has one segment or a few.
fn verified(source: &JobSource, rounds: u64) -> Option<String> {
    const EXAMPLE: u32 = 4;
    let verified = source.spec.resources.verify;
    let share = |workers: u32| 100.0 * f64::from(verified) / (rounds as f64 * f64::from(workers));
    (verified > 0).then(|| {
        format!(
            "resources.verify: {verified} segments of each outer step are computed by two workers: about {:.0} % / W \
             more computing on W workers, {:.0} % on {EXAMPLE}",
            share(1),
            share(EXAMPLE)
        )
    })
}

#[cfg(test)]
mod tests;
