//! `study`: trains the runs of a study, here or on a cluster, and writes what they show.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use lookbehind_worker::compute::CandleBackend;
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::registry::Registry;

use crate::args::Study;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::job::random_id;
use crate::line::Line;
use crate::local::{self, Cluster, State};
use crate::output::evaluation::{curves, report};
use crate::output::write_whole;
use crate::study::evaluation::Evaluating;
use crate::study::execute::Execution;
use crate::study::ledger::Ledger;
use crate::study::plan::{Plan, Run, gradients, runs as counted_runs};
use crate::study::progress::Progress;
use crate::study::results;

/// Runs a study, or goes on with it.
///
/// # Errors
/// If the study is not valid, a job is refused, a file cannot be written, or the user interrupts.
pub(super) async fn run(args: &Study, console: &Console, registry: Registry) -> Result<(), CliError> {
    let plan = Plan::read(&args.file, args.workers_per_job)?;
    let Some(out) = args.out.as_ref().filter(|_| !args.dry_run) else { return describe(&plan, console) };
    let mut ledger = Ledger::open(out, &plan.file.name, &random_id()?)?;
    let interrupt = Interrupt::listen()?;
    let data = args.data.as_deref().unwrap_or(&plan.folder);
    let local = || args.at_once.map_or_else(|| u32::from(args.workers) / args.workers_per_job, u32::from);
    let at_once = if args.cluster { args.at_once.unwrap_or(4).into() } else { local().max(1) as usize };
    let files = args.files.clone().into_data();
    let said = || match args.cluster {
        true => "interrupted; the jobs on the cluster go on, and the same command goes on with the study"
            .to_owned(),
        false => {
            "interrupted; finished runs are kept, and the same command goes on with the study".to_owned()
        }
    };
    if args.cluster {
        // Trains nothing: it evaluates, if the study asks for it.
        let backend = || local::backend(registry, data, files, 1, &DeviceChoice::Cpu);
        let evaluating = plan.file.evaluate.is_some().then(backend).transpose()?;
        let evaluating = evaluating.and_then(|backend| evaluating_with(&plan, &backend, at_once));
        let execution =
            Execution { client: Client::to(&args.remote).await?, at_once, evaluating, delete: false };
        let work = study(&plan, &execution, &mut ledger, console, out);
        return interrupt.unless(Box::pin(work), said).await;
    }
    let backend = local::backend(registry, data, files, args.workers, &args.device)?;
    let evaluating = evaluating_with(&plan, &backend, at_once);
    let mut cluster = Cluster::start(State::new(None)?, args.workers, data, backend).await?;
    let client = Client::connect(&cluster.url()).await?;
    let execution = Execution { client, at_once, evaluating, delete: true };
    let work = interrupt.unless(Box::pin(study(&plan, &execution, &mut ledger, console, out)), said);
    let result = tokio::select! {
        done = work => done,
        broken = cluster.broken() => Err(broken),
    };
    cluster.shutdown().await;
    result
}

/// What evaluates the models of the study, `at_once` at a time; `None` if it does not ask for it.
fn evaluating_with(plan: &Plan, backend: &Arc<CandleBackend>, at_once: usize) -> Option<Arc<Evaluating>> {
    let request = plan.file.evaluate.clone()?;
    let cores = available_parallelism().map_or(1, NonZero::get);
    let threads = (cores / at_once).max(1);
    Some(Arc::new(Evaluating { backend: Arc::clone(backend), request, threads }))
}

/// What would be trained.
fn describe(plan: &Plan, console: &Console) -> Result<(), CliError> {
    let trials = plan.trials()?;
    let runs = plan.comparisons(&vec![0; plan.file.variants.len()])?;
    console.result(format_args!(
        "{}: {} to choose the points of grids, {} to compare",
        plan.file.name,
        counted_runs(trials.len() as u64),
        counted_runs(runs.len() as u64)
    ))?;
    let all: Option<u64> = trials.iter().chain(&runs).map(|run| gradients(&run.source.spec)).sum();
    if let Some(all) = all {
        console.result(format_args!("{all} gradients in all"))?;
    }
    for run in runs.iter().take(plan.file.variants.len()) {
        console.result(format_args!("  {}", plan.file.variants[run.variant].name))?;
    }
    Ok(())
}

/// Trains what is missing, and writes the results.
async fn study(
    plan: &Plan,
    execution: &Execution,
    ledger: &mut Ledger,
    console: &Console,
    out: &Path,
) -> Result<(), CliError> {
    let trials = plan.trials()?;
    let (kept, other) = kept(plan, &trials, ledger)?;
    if kept > 0 {
        console.note(format_args!(
            "{} of {} are there already and are kept",
            kept,
            counted_runs(plan.runs())
        ));
    }
    if other > 0 {
        console.note(format_args!(
            "{} in the folder belong to an earlier form of the study: they stay there and do not count",
            counted_runs(other)
        ));
    }
    let mut progress = Progress::new(console, plan.runs(), kept);
    execution.all(named(plan, trials.clone()), ledger, &mut progress).await?;
    let points = results::choose(plan, &trials, ledger);
    let runs = plan.comparisons(&points)?;
    execution.all(named(plan, runs.clone()), ledger, &mut progress).await?;
    drop(progress);
    let rows = results::rows(plan, &runs, &points, ledger);
    let table = results::markdown(plan, &rows, &runs, ledger);
    let all: Vec<Run> = trials.iter().chain(&runs).cloned().collect();
    let mut files = vec![
        ("table.md", table.clone()),
        ("table.csv", results::csv(&rows)),
        ("runs.csv", results::runs_csv(ledger, &all)),
        ("accuracy.svg", results::accuracy_picture(plan, &rows)),
        ("curves.svg", results::curves_picture(plan, &runs, ledger)),
    ];
    if !trials.is_empty() {
        files.push(("trials.md", results::trials_markdown(plan, &trials, ledger, &points)));
    }
    let evaluated = results::evaluation_rows(plan, &runs, ledger);
    let measured = report::table(&evaluated);
    let pictures = curves::draw(&evaluated);
    if !evaluated.is_empty() {
        let csv = report::csv(&evaluated).map_err(|error| CliError::write(out, error))?;
        write_whole(&out.join("evaluation.csv"), &csv)?;
        files.push(("evaluation.md", report::results(&evaluated, "variant")));
    }
    files.extend(pictures.iter().map(|(name, picture)| (name.as_str(), picture.clone())));
    for (name, text) in files {
        write_whole(&out.join(name), text.as_bytes())?;
    }
    if console.json() {
        console.object(&Line::Study(rows))?;
        return evaluated.iter().try_for_each(|row| console.object(&Line::Result(row)));
    }
    table.lines().try_for_each(|line| console.result(line))?;
    measured.iter().filter(|_| !evaluated.is_empty()).try_for_each(|line| console.result(line))
}

fn named(plan: &Plan, runs: Vec<Run>) -> Vec<(Run, String)> {
    let name = |run: &Run| plan.name_of(run.variant, run.point);
    runs.into_iter()
        .map(|run| {
            let name = name(&run);
            (run, name)
        })
        .collect()
}

/// How many runs of the study are finished, and how many others the folder has. Which points the grids' comparisons are
/// at is known only after the trials: runs at any point count.
fn kept(plan: &Plan, trials: &[Run], ledger: &Ledger) -> Result<(u64, u64), CliError> {
    let mut keys: Vec<String> = trials.iter().map(|run| run.key.clone()).collect();
    for (variant, of) in plan.file.variants.iter().enumerate() {
        for point in 0..of.points() {
            for &seed in &plan.file.seeds {
                keys.push(plan.run(variant, point, seed, false)?.key);
            }
        }
    }
    let kept = ledger.records().filter(|record| keys.contains(&record.key)).count() as u64;
    Ok((kept, ledger.records().count() as u64 - kept))
}
