//! What the runs of a study show: a row for each variant, as Markdown, CSV, JSON and charts.

mod evaluation;
mod pictures;
mod tables;

use std::collections::BTreeMap;

use lookbehind_common::evaluate::{Difference, Spread, differences};
use serde::Serialize;

use super::confounds::Confounds;
use super::file::Metric;
use super::ledger::{Ledger, Record};
use super::plan::{Plan, Run, shown};

pub use self::evaluation::evaluation_rows;
pub use self::pictures::{accuracy_picture, curves_picture};
pub use self::tables::{csv, markdown, runs_csv, trials_markdown};

/// One variant's results, over the seeds of the study.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the variant.
    pub variant: String,
    /// Values of the grid that validation chose; empty without a grid.
    pub chosen: String,
    /// Points of the grid that were tried.
    pub trials: u64,
    /// Runs that succeeded.
    pub runs: usize,
    /// Runs that failed, mostly because they diverged. They are in no mean.
    pub failed: usize,
    /// Last test accuracy, in percent.
    pub last: Option<Spread>,
    /// Best test accuracy, in percent.
    pub best: Option<Spread>,
    /// Test accuracy that validation chooses, in percent.
    pub selected: Option<Spread>,
    /// Share of the wrong labels that is memorised at the end, in percent.
    pub memorised: Option<Spread>,
    /// Difference to the baseline in the study's metric, over equal seeds, in points.
    pub difference: Option<Difference>,
    /// What else differs between the variants.
    pub confounds: Confounds,
    /// Gradients of a run.
    pub gradients: Option<Spread>,
    /// Samples of a run.
    pub samples: Option<Spread>,
    /// Outer steps of a run.
    pub outer_steps: Option<Spread>,
    /// Seconds in outer steps of a run.
    pub wall_seconds: Option<Spread>,
    /// Seconds of computing on the busiest worker.
    pub compute_seconds: Option<Spread>,
    /// Accuracies in the study's metric by seed, in percent.
    #[serde(skip)]
    pub by_seed: BTreeMap<u64, f64>,
}

/// The point of each variant's grid with the highest mean validation accuracy over its trials; of equal ones the first.
/// A point of which a trial failed is chosen only if all others failed as well.
pub fn choose(plan: &Plan, trials: &[Run], ledger: &Ledger) -> Vec<u64> {
    let mut scores: BTreeMap<(usize, u64), Vec<f64>> = BTreeMap::new();
    for run in trials {
        let record = ledger.get(&run.key).filter(|record| record.failed.is_none());
        let accuracy =
            record.and_then(|record| record.validation).map_or(f64::NEG_INFINITY, |test| test.accuracy);
        scores.entry((run.variant, run.point)).or_default().push(accuracy);
    }
    let best = |variant: usize| {
        let points = scores.range((variant, 0)..=(variant, u64::MAX));
        let mean = |values: &Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let scored = points.map(|((_, point), values)| (*point, mean(values)));
        scored.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(0, |(point, _)| point)
    };
    (0..plan.file.variants.len()).map(best).collect()
}

/// The rows of the study's table, in the order of the variants. Runs that are not finished are left out.
pub fn rows(plan: &Plan, runs: &[Run], points: &[u64], ledger: &Ledger) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, variant) in plan.file.variants.iter().enumerate() {
        let of: Vec<&Run> = runs.iter().filter(|run| run.variant == number).collect();
        let records: Vec<&Record> = of.iter().filter_map(|run| ledger.get(&run.key)).collect();
        let good: Vec<&Record> = records.iter().copied().filter(|record| record.failed.is_none()).collect();
        let spread = |value: fn(&Record) -> Option<f64>| {
            Spread::of(&good.iter().filter_map(|record| value(record)).collect::<Vec<_>>())
        };
        let metric = plan.file.metric;
        let by_seed = good.iter().filter_map(|record| Some((record.seed, accuracy(record, metric)?)));
        rows.push(Row {
            variant: variant.name.clone(),
            chosen: shown(&variant.point(points.get(number).copied().unwrap_or(0))),
            trials: variant.points(),
            runs: good.len(),
            failed: records.len() - good.len(),
            last: spread(|record| accuracy(record, Metric::Last)),
            best: spread(|record| accuracy(record, Metric::Best)),
            selected: spread(|record| accuracy(record, Metric::Selected)),
            memorised: spread(|record| record.memorised.map(|test| 100.0 * test.accuracy)),
            difference: None,
            confounds: of.first().map(|run| Confounds::of(&run.source.spec)).unwrap_or_default(),
            gradients: spread(|record| Some(record.gradients as f64)),
            samples: spread(|record| Some(record.samples as f64)),
            outer_steps: spread(|record| Some(record.outer_steps as f64)),
            wall_seconds: spread(|record| Some(record.wall_seconds)),
            compute_seconds: spread(|record| Some(record.compute_seconds)),
            by_seed: by_seed.collect(),
        });
    }
    compare(&plan.file.baseline, &mut rows);
    rows
}

fn compare(baseline: &str, rows: &mut [Row]) {
    let base = rows.iter().find(|row| row.variant == baseline).map(|row| row.by_seed.clone());
    let base = base.unwrap_or_default();
    let pairs = |row: &Row| {
        let both = row.by_seed.iter().filter_map(|(seed, value)| Some(value - base.get(seed)?));
        if row.variant == baseline { Vec::new() } else { both.collect() }
    };
    let all: Vec<Vec<f64>> = rows.iter().map(pairs).collect();
    for (row, difference) in rows.iter_mut().zip(differences(&all)) {
        row.difference = difference;
    }
}

/// Test accuracy of a run, in percent.
fn accuracy(record: &Record, metric: Metric) -> Option<f64> {
    let test = match metric {
        Metric::Last => record.last,
        Metric::Best => record.best.map(|best| best.metrics),
        Metric::Selected => record.selected.and_then(|selected| selected.test),
    };
    test.map(|test| 100.0 * test.accuracy)
}
