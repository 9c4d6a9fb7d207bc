//! `validate`: what can be said of a job file, without its model and data or with them.

use lookbehind_common::job::{InnerGradients, Length, Method};
use lookbehind_worker::data::RemoteData;
use lookbehind_worker::registry::Registry;

use crate::args::Validate;
use crate::console::Console;
use crate::error::CliError;
use crate::job::JobSource;
use crate::json::{Line, ValidJson};
use crate::local;

/// Checks a job file.
///
/// # Errors
/// When a file cannot be read or a key is wrong.
pub(super) fn run(args: &Validate, console: &Console, registry: Registry) -> Result<(), CliError> {
    let source = JobSource::read(&args.job)?;
    if let Some(data) = &args.data {
        let loaded = local::backend(registry, data, RemoteData::default(), 1).prepare(&source.spec);
        loaded.map_err(|error| CliError::Usage(format!("{}: {error}", source.label)))?;
    }
    let evaluations = evaluations(&source.spec.optimizer.method);
    if console.json() {
        return console.object(&Line::Valid(Box::new(ValidJson {
            file: source.label.clone(),
            spec: source.file().clone(),
            evaluations_per_outer_step: evaluations,
        })));
    }
    describe(&source, evaluations).iter().try_for_each(|line| console.result(line))
}

fn describe(source: &JobSource, evaluations: u64) -> [String; 3] {
    let spec = &source.spec;
    let length = match spec.train.length {
        Length::Epochs(epochs) => format!("{epochs} epochs"),
        Length::Steps(steps) => format!("{steps} outer steps"),
    };
    let (batch, shards) = (spec.train.batch_size, spec.train.shards);
    let batches = match spec.optimizer.method.batches_per_outer_step() {
        1 => "one batch".to_owned(),
        batches => format!("{batches} batches"),
    };
    [
        format!("{}: in order", source.label),
        format!("{length} of batches of {batch} samples in {shards} shards"),
        format!("{evaluations} evaluations on {batches} per outer step"),
    ]
}

/// Gradients of a batch per full outer step (design, section 2).
fn evaluations(method: &Method) -> u64 {
    match *method {
        Method::Sgd => 1,
        Method::Sam { .. } => 2,
        Method::Lookahead { k, .. } => u64::from(k),
        Method::LookaheadSam { k, .. } => 2 * u64::from(k),
        Method::MultistepSam { k, .. } | Method::Lookbehind { k, gradients: InnerGradients::Reuse, .. } => {
            u64::from(k) + 1
        }
        Method::Lookbehind { k, gradients: InnerGradients::Reference(_), .. } => 2 * u64::from(k),
    }
}

#[cfg(test)]
#[path = "validate_test.rs"]
mod tests;
