//! Text for people: the results of a run, jobs and workers.

use std::path::Path;

use indicatif::BinaryBytes;
use lookbehind_proto::json::{BestJson, state_name};
use lookbehind_proto::v1;

use crate::output;
use crate::output::summary::{Gradients, Selected, Summary, TestResult, TimeResult, TrainResult};
use crate::table::Table;
use crate::text::{self, percent, printable, reason};

/// The results of a run.
pub fn summary(summary: &Summary, folder: Option<&Path>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String| lines.push(format!("{label:<16} {text}"));
    let Summary { job_id, name, state, outer_steps, total_outer_steps, .. } = summary;
    let name = printable(name);
    let when = match outer_steps {
        0 => "before its first outer step".to_owned(),
        done => format!("results after {done} of {total_outer_steps} outer steps"),
    };
    line("job", format!("{job_id} \"{name}\" {state}, {when}"));
    if let Some(TrainResult { epoch, loss, accuracy }) = summary.train {
        let epoch = epoch + 1;
        let (loss, accuracy) = (text::loss(loss), percent(accuracy));
        line("train", format!("loss {loss}, accuracy {accuracy} (over epoch {epoch})"));
    }
    let tests = [
        ("test", &summary.test),
        ("validation", &summary.validation),
        ("clean labels", &summary.clean),
        ("memorised", &summary.memorised),
    ];
    for (label, result) in tests {
        if let Some(TestResult { outer_step, metrics }) = result {
            let (loss, accuracy, samples) =
                (text::loss(metrics.loss), percent(metrics.accuracy), metrics.samples);
            line(
                label,
                format!("loss {loss}, accuracy {accuracy} ({samples} samples, outer step {outer_step})"),
            );
        }
    }
    if let Some(BestJson { outer_step, metric, value }) = summary.best_checkpoint {
        line("best checkpoint", format!("{metric} {value:.6} (outer step {outer_step})"));
    }
    if let Some(best) = summary.best.filter(|best| Some(*best) != summary.test) {
        let accuracy = percent(best.metrics.accuracy);
        line(
            "best test",
            format!("accuracy {accuracy} (outer step {}), chosen by the test split", best.outer_step),
        );
    }
    if let Some(Selected { outer_step, test: Some(test), .. }) = summary.selected {
        let accuracy = percent(test.accuracy);
        line("selected test", format!("accuracy {accuracy} (outer step {outer_step}), chosen by validation"));
    }
    let Gradients { total, per_outer_step } = summary.gradients;
    if total > 0 {
        line("gradients", format!("{total}, {per_outer_step:.4} per outer step").replace(".0000", ""));
        line("time", time(&summary.time));
    }
    if let Some(estimate) = &summary.one_more_worker {
        line("one more worker", estimate.verdict.clone());
    }
    if !summary.digest.is_empty() {
        line("digest", summary.digest.clone());
    }
    if let Some(folder) = folder {
        line("files", files(folder));
    }
    lines
}

fn time(TimeResult { seconds, share }: &TimeResult) -> String {
    let part = |share: f64, name: &str| format!("{} {name}", percent(share));
    format!(
        "{:.1} s in outer steps: {}, {}, {}, {}, {}",
        seconds.total,
        part(share.compute, "compute"),
        part(share.data, "data"),
        part(share.communication, "communication"),
        part(share.optimizer, "optimizer"),
        part(share.waiting, "waiting")
    )
}

/// The names of the files in an output folder, the most important first.
fn files(folder: &Path) -> String {
    let names = [
        output::MODEL,
        output::BEST_MODEL,
        output::METRICS,
        output::SUMMARY,
        output::JOB,
        output::TENSORBOARD,
    ];
    let there: Vec<&str> = names.into_iter().filter(|name| folder.join(name).exists()).collect();
    format!("{}: {}", folder.display(), there.join(", "))
}

/// The jobs as a table.
pub fn jobs(jobs: &[v1::Job]) -> Vec<String> {
    const HEADING: [&str; 9] =
        ["ID", "NAME", "STATE", "OUTER STEP", "LOSS", "TEST", "WORKERS", "CREATED", "MESSAGE"];
    // A column that most users need not see.
    let has_labels = jobs.iter().any(|job| !labels(job).is_empty());
    let mut heading = HEADING.to_vec();
    if has_labels {
        heading.insert(2, "LABELS");
    }
    let mut table = Table::new(&heading);
    for job in jobs {
        let mut cells = vec![
            job.id.clone(),
            name(job),
            state_name(job.state()).to_owned(),
            outer_step(job),
            loss(job),
            test(job),
            job.workers.to_string(),
            job.created_at.as_ref().map(ToString::to_string).unwrap_or_default(),
            message(job),
        ];
        if has_labels {
            cells.insert(2, labels(job));
        }
        table.row(cells);
    }
    table.lines()
}

/// One job with one field per line.
pub fn job(job: &v1::Job) -> Vec<String> {
    job_in(job, state_name(job.state()))
}

/// A job whose pause was requested, as [`job`] shows it: one that runs is paused after its outer step only.
pub fn pausing(job: &v1::Job) -> Vec<String> {
    match job.state() {
        v1::JobState::Running => job_in(job, "running, pauses after the current outer step"),
        _ => self::job(job),
    }
}

fn job_in(job: &v1::Job, state: &str) -> Vec<String> {
    let time = |time: &Option<_>| time.as_ref().map(ToString::to_string).unwrap_or_default();
    let fields = [
        ("job", job.id.clone()),
        ("name", name(job)),
        ("labels", labels(job)),
        ("owner", job.owner.clone()),
        ("state", state.to_owned()),
        ("message", reason(job.state(), &job.message).to_owned()),
        ("waits for", job.waiting_for.clone()),
        ("outer step", position(job)),
        ("loss", loss(job)),
        ("test", test_at_length(job)),
        ("workers", job.workers.to_string()),
        ("created", time(&job.created_at)),
        ("finished", time(&job.finished_at)),
        ("digest", job.digest.clone()),
    ];
    let shown = fields.into_iter().filter(|(_, text)| !text.is_empty());
    shown.map(|(label, text)| format!("{label:<11} {}", printable(&text))).collect()
}

/// The workers as a table.
pub fn workers(workers: &[v1::Worker]) -> Vec<String> {
    let mut table = Table::new(&["SESSION", "NAME", "VERSION", "DEVICE", "JOB", "SHARDS DONE", "SILENT"]);
    for worker in workers {
        table.row([
            worker.session.to_string(),
            worker.name.clone(),
            worker.version.clone(),
            worker.device.clone(),
            match worker.job_id.as_str() {
                "" if worker.busy => "another user's".to_owned(),
                "" => "-".to_owned(),
                id => id.to_owned(),
            },
            worker.shards_done.to_string(),
            format!("{:.1} s", worker.silent_seconds),
        ]);
    }
    table.lines()
}

/// The checkpoints of a job as a table.
pub fn checkpoints(checkpoints: &[v1::Checkpoint]) -> Vec<String> {
    let mut table = Table::new(&["OUTER STEP", "EPOCHS", "SIZE", "WRITTEN", "DIGEST"]);
    for checkpoint in checkpoints {
        table.row([
            checkpoint.outer_step.to_string(),
            checkpoint.epoch.to_string(),
            BinaryBytes(checkpoint.bytes).to_string(),
            checkpoint.written_at.as_ref().map(ToString::to_string).unwrap_or_default(),
            checkpoint.digest.clone(),
        ]);
    }
    table.lines()
}

fn name(job: &v1::Job) -> String {
    job.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default()
}

/// `KEY=VALUE, …`, in the order of the keys.
fn labels(job: &v1::Job) -> String {
    let labels = job.spec.iter().flat_map(|spec| &spec.labels);
    labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// What a job waits for, or else the reason of its state.
fn message(job: &v1::Job) -> String {
    match job.waiting_for.as_str() {
        "" => reason(job.state(), &job.message).to_owned(),
        waiting_for => format!("waits for {waiting_for}"),
    }
}

fn loss(job: &v1::Job) -> String {
    job.results.as_ref().map(|results| format!("{:.4}", results.loss)).unwrap_or_default()
}

/// The accuracy of the newest test.
fn test(job: &v1::Job) -> String {
    let test = job.results.as_ref().and_then(|results| results.test);
    test.map(|test| percent(test.accuracy)).unwrap_or_default()
}

fn test_at_length(job: &v1::Job) -> String {
    let newest = job.results.as_ref().and_then(|results| Some((results.test?, results.test_outer_step)));
    let text = |(test, step): (v1::TestMetrics, u64)| {
        format!("loss {:.4}, accuracy {} (outer step {step})", test.loss, percent(test.accuracy))
    };
    newest.map(text).unwrap_or_default()
}

fn outer_step(job: &v1::Job) -> String {
    match job.total_outer_steps {
        0 => job.outer_step.to_string(),
        total => format!("{}/{total}", job.outer_step),
    }
}

/// The outer step of a job, and whether it does again what was done before.
fn position(job: &v1::Job) -> String {
    match job.repeats_until {
        0 => outer_step(job),
        until => format!("{}, done before up to {until}", outer_step(job)),
    }
}

#[cfg(test)]
mod tests;
