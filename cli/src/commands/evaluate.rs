//! `evaluate`: loss and accuracy of trained models, under noise on the weights and in their neighbourhood.

mod request;

use indicatif::ProgressBar;
use lookbehind_common::evaluate::{Plan, Record, Row, summarise};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::text::counted;
use lookbehind_worker::evaluate::Evaluation as Loaded;
use lookbehind_worker::registry::Registry;

use super::subject::{Models, threads};
use crate::args::Evaluate;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;
use crate::output::evaluation::{Evaluated, Evaluation, EvaluationFolder, report};

/// Evaluates models.
///
/// # Errors
/// If something that was asked for cannot be computed, a model does not fit the job, or an output cannot be written.
pub(super) async fn run(args: &Evaluate, console: &Console, registry: Registry) -> Result<(), CliError> {
    check_names(args)?;
    let models = Models::open(&args.subject, &args.models).await?;
    let request = request::of(args, &models.spec)?;
    let loaded = models.evaluation(&args.subject, registry, None)?;
    crate::evaluate::check(&request, &loaded)?;
    let plan = Plan::new(request, loaded.sizes(args.split));
    let (mut weights, mut evaluated) = (Vec::new(), Vec::new());
    for file in &models.files {
        let (own, digest) = file.weights(loaded.layout())?;
        evaluated.push(Evaluated { name: file.name.clone(), digest });
        weights.push(own);
    }
    let evaluation = Evaluation::new(&plan, evaluated, &loaded.report());
    announce(&evaluation, &plan, console)?;
    let folder = args.out.as_deref();
    let folder =
        folder.map(|folder| EvaluationFolder::prepare(folder, &evaluation, &models.spec, args.force));
    let mut folder = folder.transpose()?;
    let records = compute(args, console, &loaded, &plan, weights, folder.as_mut())?;
    let named: Vec<(String, Vec<Record>)> = args.models.iter().cloned().zip(records).collect();
    let rows = summarise(&plan, &named, baseline(args)?);
    if let Some(folder) = &folder {
        folder.finish(&evaluation, &named, &rows)?;
    }
    tell(console, &rows, folder.as_ref())
}

/// The records of all models.
fn compute(
    args: &Evaluate,
    console: &Console,
    loaded: &Loaded,
    plan: &Plan,
    mut weights: Vec<ModelState<FlatBuffer>>,
    mut folder: Option<&mut EvaluationFolder>,
) -> Result<Vec<Vec<Record>>, CliError> {
    let threads = threads(&args.subject);
    if args.recalibrate {
        let anew = weights.into_iter().map(|weights| loaded.recalibrated(plan, weights, threads));
        weights = anew.collect::<Result<_, _>>()?;
    }
    let known = folder.as_mut().map(|folder| folder.take_known()).unwrap_or_default();
    if !known.is_empty() {
        console.note(format_args!("going on: {} units are known already", known.len()));
    }
    let total = (plan.units.len() * weights.len() - known.len()) as u64;
    let bar = console.bars().add(ProgressBar::new(total));
    let records = loaded.run(plan, &weights, known, threads, |model, unit, record| {
        bar.inc(1);
        folder.as_mut().map_or(Ok(()), |folder| folder.keep(model, unit, record))
    });
    bar.finish_and_clear();
    records
}

/// Says what it costs, before anything is computed.
fn announce(evaluation: &Evaluation, plan: &Plan, console: &Console) -> Result<(), CliError> {
    if console.json() {
        return console.object(&Line::Evaluation(evaluation));
    }
    let models = evaluation.models.len() as u64;
    let units = plan.units.len() as u64 * models;
    let (batch, cost) = (plan.sizes.batch, evaluation.cost_in_gradients);
    console.note(format_args!(
        "{}, {} of work: at most the time of {cost:.0} gradients of batches of {}",
        counted(models, "model"),
        counted(units, "unit"),
        counted(batch, "sample")
    ));
    Ok(())
}

/// Prints the results.
fn tell(console: &Console, rows: &[Row], folder: Option<&EvaluationFolder>) -> Result<(), CliError> {
    if console.json() {
        return rows.iter().try_for_each(|row| console.object(&Line::Result(row)));
    }
    report::table(rows).iter().try_for_each(|line| console.result(line))?;
    folder.map_or(Ok(()), |folder| console.result(format_args!("files: {}", folder.path().display())))
}

/// Models are told apart by their names.
fn check_names(args: &Evaluate) -> Result<(), CliError> {
    let mut names: Vec<&String> = args.models.iter().collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(CliError::Usage(format!("{}: is given twice", twice[0])));
    }
    baseline(args).map(drop)
}

/// The model with which the others are compared.
fn baseline(args: &Evaluate) -> Result<Option<usize>, CliError> {
    let Some(name) = &args.baseline else { return Ok((args.models.len() > 1).then_some(0)) };
    let found = args.models.iter().position(|model| model == name);
    found.map(Some).ok_or_else(|| {
        let models = args.models.join(", ");
        CliError::Usage(format!("--baseline: expected one of the models {models}, found {name}"))
    })
}

#[cfg(test)]
mod tests;
