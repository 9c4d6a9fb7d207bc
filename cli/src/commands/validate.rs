//! `validate`: checks a job file without or with its model and data.

use std::sync::Arc;

use lookbehind_common::job::{ExchangeFormat, Groups, JobSpec, Length, Method, TensorRule};
use lookbehind_common::layout::Layout;
use lookbehind_common::optimizer::{
    ClimbOrder, Communication, Visit, gradient_layout, gradients_per_outer_step, requests_per_outer_step,
};
use lookbehind_common::reduction::effective_shards;
use lookbehind_common::text::counted;
use lookbehind_worker::compute::{Backend, CandleBackend, PrepareError};
use lookbehind_worker::data::Cancellation;
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::registry::Registry;

use crate::args::Validate;
use crate::console::Console;
use crate::error::CliError;
use crate::job::{JobSource, folder_of};
use crate::line::{Line, Valid, VisitBytes};
use crate::local;
use crate::output::write_whole;

/// Checks a job file.
///
/// # Errors
/// If a file cannot be read or a key is invalid.
pub(super) fn run(args: &Validate, console: &Console, registry: Registry) -> Result<(), CliError> {
    let backend = backend(args, registry)?;
    let source = JobSource::read(&args.job, Some(&backend))?;
    let Checked { not_checked, data, visit_bytes, groups } = check(args, &source, &backend)?;
    save_init(args, &source)?;
    let method = &source.spec.optimizer.method;
    let (gradients, rounds) = (gradients_per_outer_step(method), requests_per_outer_step(method));
    let communication = Communication::of(method, source.spec.train.exchange);
    if console.json() {
        return console.object(&Line::Valid(Box::new(Valid {
            file: source.label.clone(),
            spec: source.file().clone(),
            gradients_per_outer_step: gradients,
            rounds_per_outer_step: rounds,
            communication_per_outer_step: communication.each_way,
            visit_bytes,
            data,
            not_checked,
        })));
    }
    let not_checked = not_checked.map(|what| format!("not checked without --data: {what}"));
    let described = describe(&source, gradients);
    let verified = verified(&source, rounds);
    let visits = visits(method, rounds);
    let climbing = visit_bytes.map(climbing);
    let rounded = rounded(&source.spec);
    let sent = sent(communication);
    described
        .iter()
        .chain(&visits)
        .chain(&climbing)
        .chain(&groups)
        .chain(&rounded)
        .chain([&sent])
        .chain(&verified)
        .chain(&data)
        .chain(&not_checked)
        .try_for_each(|line| console.result(line))
}

/// What loads a job as a worker would.
fn backend(args: &Validate, registry: Registry) -> Result<Arc<CandleBackend>, CliError> {
    let folder = args.data.clone().unwrap_or_else(|| folder_of(&args.job));
    let remote = args.remote.clone().into_data();
    Ok(local::backend(registry, &folder, remote, 1, &DeviceChoice::Cpu)?)
}

/// What the check of a job said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Checked {
    /// What could not be checked.
    not_checked: Option<String>,
    /// What was read of the data, in lines.
    data: Vec<String>,
    /// Bytes that visits take on a worker, in addition to a gradient; `None` without visits, or without a model.
    visit_bytes: Option<VisitBytes>,
    /// What parameter groups come to; `None` without groups, or without a model.
    groups: Option<String>,
}

impl Checked {
    /// What is told of a model with this layout.
    fn of(spec: &JobSpec, layout: &Layout) -> Self {
        let (visit_bytes, groups) = (visit_bytes(spec, layout), groups(spec, layout));
        Self { visit_bytes, groups, ..Self::default() }
    }
}

/// Checks model, data and initial weights as far as they are available.
fn check(args: &Validate, source: &JobSource, backend: &CandleBackend) -> Result<Checked, CliError> {
    let wrong = |error: PrepareError| CliError::Usage(format!("{}: {error}", source.label));
    if args.data.is_some() {
        let job = backend.prepare(&source.spec, &Cancellation::default()).map_err(wrong)?;
        source.check_init(&job.description().layout)?;
        let report = backend.data_report(&source.spec).map_err(wrong)?;
        return Ok(Checked { data: report.lines(), ..Checked::of(&source.spec, &job.description().layout) });
    }
    let mut checked = Checked::default();
    let not_checked = match backend.build(&source.spec) {
        Ok(layout) => {
            source.check_init(&layout)?;
            checked = Checked::of(&source.spec, &layout);
            "the data, and that shards of it can be computed".to_owned()
        }
        Err(PrepareError::Worker(reason)) => {
            let init = source.init.as_ref().map_or("", |_| ", initial weights");
            format!("model{init} and data ({reason})")
        }
        Err(error) => return Err(wrong(error)),
    };
    Ok(Checked { not_checked: Some(not_checked), ..checked })
}

/// Writes the initial weights to the file that the command line names, if it names one.
fn save_init(args: &Validate, source: &JobSource) -> Result<(), CliError> {
    match (&args.save_init, &source.init) {
        (None, _) => Ok(()),
        (Some(path), Some(init)) => write_whole(path, &init.bytes),
        (Some(_), None) => {
            let problem = "the job names no file of initial weights";
            Err(CliError::Usage(format!("--save-init: {}: {problem}", source.label)))
        }
    }
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

/// How many parameters the job's groups leave to be trained, and to be perturbed.
fn groups(spec: &JobSpec, layout: &Layout) -> Option<String> {
    if spec.optimizer.groups == Groups::default() {
        return None;
    }
    let elements = |holds: fn(&TensorRule) -> bool| -> usize {
        let rules = layout.parameter_entries().map(|entry| (entry, spec.optimizer.groups.rule(&entry.spec)));
        rules.filter(|(_, rule)| holds(rule)).map(|(entry, _)| entry.range.len()).sum()
    };
    let (all, trained) = (layout.parameters(), elements(|rule| !rule.frozen));
    let perturbed = spec.optimizer.method.parts().ascent.map(|_| elements(|rule| rule.ascends));
    let perturbed = perturbed.map(|count| format!(", {count} are perturbed")).unwrap_or_default();
    Some(format!("optimizer.groups: of {all} parameters {trained} are trained{perturbed}"))
}

/// Bytes that visits take on a worker that has all shards of a batch; `None` without visits.
fn visit_bytes(spec: &JobSpec, layout: &Layout) -> Option<VisitBytes> {
    let shards = effective_shards(spec.train.batch_size, spec.train.shards);
    let (model, gradient) = (layout.lengths(), gradient_layout(&spec.optimizer, layout).lengths());
    Visit::of(&spec.optimizer.method).map(|visit| {
        let [one_after_another, in_step] =
            ClimbOrder::ALL.map(|order| visit.bytes(order, model, gradient, shards));
        VisitBytes { one_after_another, in_step }
    })
}

/// The memory that visits take in either order.
fn climbing(VisitBytes { one_after_another, in_step }: VisitBytes) -> String {
    let [one_after_another, in_step] = [one_after_another, in_step].map(|bytes| bytes.div_ceil(1 << 20));
    format!(
        "optimizer.perturbation \"shard\": on a worker that has all shards, climbing takes {one_after_another} MiB more than \
         computing a gradient one shard after the other, {in_step} MiB in step; workers take the smaller, and both come to \
         the same bytes"
    )
}

/// What is rounded before it is exchanged; `None` if nothing is.
fn rounded(spec: &JobSpec) -> Option<String> {
    let format = spec.train.exchange;
    (format != ExchangeFormat::F32).then(|| {
        format!(
            "train.exchange \"{}\": gradients of shards and their sums are rounded, and take {} bytes per parameter",
            format.as_str(),
            format.bytes()
        )
    })
}

/// How much an outer step sends.
fn sent(communication: Communication) -> String {
    const EXAMPLE: u32 = 8;
    format!(
        "per outer step, a worker sends and receives {:.1} times the parameters as f32: {:.2} of what {} take on \
         {EXAMPLE} machines",
        communication.each_way,
        communication.relative(EXAMPLE),
        counted(communication.all_reduces.into(), "ring all-reduce")
    )
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
