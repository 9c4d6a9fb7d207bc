//! The tables of a study: Markdown for people, CSV for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use lookbehind_common::evaluate::{Difference, Spread};

use super::super::file::Metric;
use super::super::ledger::Ledger;
use super::super::plan::{Plan, Run};
use super::Row;

/// The table of a study, with a digest of each run below it.
pub fn markdown(plan: &Plan, rows: &[Row], runs: &[Run], ledger: &Ledger) -> String {
    let has_noise = rows.iter().any(|row| row.memorised.is_some());
    let has_validation = rows.iter().any(|row| row.selected.is_some());
    let mut heads = vec!["variant", "runs", "last"];
    let optional = [(has_validation, "selected"), (true, "best"), (has_noise, "memorised")];
    heads.extend(optional.iter().filter(|(shown, _)| *shown).map(|(_, head)| *head));
    let difference = format!("{} − {}, 95 %", metric(plan.file.metric), plan.file.baseline);
    heads.extend([difference.as_str(), "the same, Holm", "p, Holm", "α·k·lr", "ρ_eff", "kρ"]);
    heads.extend(["gradients", "samples", "outer steps", "wall s", "compute s"]);
    let cells = |row: &Row| {
        let chosen = if row.chosen.is_empty() { String::new() } else { format!(" ({})", row.chosen) };
        let failed = if row.failed == 0 { String::new() } else { format!(", {} failed", row.failed) };
        let mut cells =
            vec![format!("{}{chosen}", row.variant), format!("{}{failed}", row.runs), percent(row.last)];
        let optional = [(has_validation, row.selected), (true, row.best), (has_noise, row.memorised)];
        cells.extend(optional.iter().filter(|(shown, _)| *shown).map(|(_, spread)| percent(*spread)));
        cells.extend(difference_cells(row.difference.as_ref()));
        let confounds = row.confounds;
        let adaptive = if confounds.adaptive { "≤ " } else { "" };
        cells.push(format!("{adaptive}{}", number(confounds.alpha_k_lr)));
        cells.extend(
            [confounds.effective_rho, confounds.path].map(|value| value.map_or("–".to_owned(), number)),
        );
        cells.extend([row.gradients, row.samples, row.outer_steps].map(|spread| mean(spread, 0)));
        cells.extend([row.wall_seconds, row.compute_seconds].map(|spread| mean(spread, 1)));
        cells
    };
    let mut text = table(&heads, rows.iter().map(cells));
    text.push_str("\nAccuracies in percent, mean ± sample standard deviation over seeds; differences in points, by seed.\n\n");
    let names = ["variant", "seed", "last", "digest of the weights"];
    let digests = runs.iter().filter_map(|run| {
        let record = ledger.get(&run.key)?;
        let last = record.last.map_or("–".to_owned(), |test| format!("{:.2}", 100.0 * test.accuracy));
        let digest =
            record.failed.as_ref().map_or(format!("`{}`", record.digest), |why| format!("failed: {why}"));
        Some(vec![plan.file.variants[run.variant].name.clone(), run.seed.to_string(), last, digest])
    });
    text.push_str(&table(&names, digests));
    text
}

/// The trials of the grids: what validation saw.
pub fn trials_markdown(plan: &Plan, trials: &[Run], ledger: &Ledger, points: &[u64]) -> String {
    let mut found: BTreeMap<(usize, u64), Vec<f64>> = BTreeMap::new();
    for run in trials {
        let values = found.entry((run.variant, run.point)).or_default();
        let validation = ledger.get(&run.key).and_then(|record| record.validation);
        values.extend(validation.map(|test| 100.0 * test.accuracy));
    }
    let rows = found.iter().map(|(&(variant, point), values)| {
        let chosen = if points.get(variant) == Some(&point) { "chosen" } else { "" };
        vec![
            plan.name_of(variant, point),
            values.len().to_string(),
            percent(Spread::of(values)),
            chosen.to_owned(),
        ]
    });
    table(&["trial", "runs", "validation", ""], rows)
}

/// The rows as CSV, with plain numbers.
pub fn csv(rows: &[Row]) -> String {
    const HEADS: &str = "variant,chosen,trials,runs,failed,last_mean,last_std,selected_mean,selected_std,best_mean,\
        best_std,memorised_mean,memorised_std,difference,difference_half_width,difference_holm_half_width,p,holm_p,\
        alpha_k_lr,effective_rho,path,gradients,samples,outer_steps,wall_seconds,compute_seconds";
    let mut text = format!("{HEADS}\n");
    for row in rows {
        let mut cells = vec![quoted(&row.variant), quoted(&row.chosen)];
        cells.extend([row.trials.to_string(), row.runs.to_string(), row.failed.to_string()]);
        for spread in [row.last, row.selected, row.best, row.memorised] {
            cells.push(plain(spread.map(|spread| spread.mean)));
            cells.push(plain(spread.and_then(|spread| spread.std)));
        }
        let difference = row.difference;
        cells.push(plain(difference.map(|difference| difference.mean)));
        let parts: [fn(Difference) -> Option<f64>; 4] =
            [|of| of.half_width, |of| of.holm_half_width, |of| of.p, |of| of.holm_p];
        cells.extend(parts.map(|part| plain(difference.and_then(part))));
        cells.push(plain(Some(row.confounds.alpha_k_lr)));
        cells.extend([row.confounds.effective_rho, row.confounds.path].map(plain));
        let costs = [row.gradients, row.samples, row.outer_steps, row.wall_seconds, row.compute_seconds];
        cells.extend(costs.map(|spread| plain(spread.map(|spread| spread.mean))));
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{}", cells.join(","));
    }
    text
}

/// All finished runs as CSV.
pub fn runs_csv(ledger: &Ledger, runs: &[Run]) -> String {
    let mut text =
        String::from("variant,seed,trial,failed,last,selected,best,validation,memorised,gradients,digest\n");
    for run in runs {
        let Some(record) = ledger.get(&run.key) else { continue };
        let selected = record.selected.and_then(|selected| selected.test).map(|test| test.accuracy);
        let accuracies = [
            record.last.map(|test| test.accuracy),
            selected,
            record.best.map(|best| best.metrics.accuracy),
            record.validation.map(|test| test.accuracy),
            record.memorised.map(|test| test.accuracy),
        ];
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{}",
            quoted(&record.variant),
            record.seed,
            run.is_trial,
            quoted(record.failed.as_deref().unwrap_or("")),
            accuracies.map(plain).join(","),
            record.gradients,
            record.digest
        );
    }
    text
}

fn metric(metric: Metric) -> &'static str {
    match metric {
        Metric::Last => "last",
        Metric::Best => "best",
        Metric::Selected => "selected",
    }
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn percent(spread: Option<Spread>) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { mean, std: None, .. }) => format!("{mean:.2}"),
        Some(Spread { mean, std: Some(std), .. }) => format!("{mean:.2} ± {std:.2}"),
    }
}

fn difference_cells(difference: Option<&Difference>) -> [String; 3] {
    let Some(difference) = difference else { return [(); 3].map(|()| "–".to_owned()) };
    let mean = difference.mean;
    let interval =
        |half: Option<f64>| half.map_or(format!("{mean:+.2}"), |half| format!("{mean:+.2} ± {half:.2}"));
    let p = difference.holm_p.map_or("–".to_owned(), |p| match p {
        p if p < 1e-4 => "< 0.0001".to_owned(),
        p => format!("{p:.4}"),
    });
    [interval(difference.half_width), interval(difference.holm_half_width), p]
}

fn mean(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("–".to_owned(), |spread| format!("{:.digits$}", spread.mean))
}

/// Up to four significant digits.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn plain(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\"").replace('\n', " "))
}
