//! The results of an evaluation as tables: on the terminal, in CSV and in Markdown.

use std::fmt::Write;
use std::io;

use lookbehind_common::evaluate::{Difference, Record, Row, Scores};

use super::Evaluation;
use crate::table::Table;
use crate::text::printable;

/// Most classes of a table of confusion in the report.
const MOST_CLASSES: usize = 30;
/// The columns of the table for programs.
const COLUMNS: [&str; 16] = [
    "model",
    "measure",
    "at",
    "quantity",
    "n",
    "mean",
    "std",
    "min",
    "p5",
    "difference",
    "difference_low",
    "difference_high",
    "difference_n",
    "p",
    "p_holm",
    "significant",
];
/// Probability of an error that is accepted for a difference.
const LEVEL: f64 = 0.05;

/// The results for a terminal.
pub fn table(rows: &[Row]) -> Vec<String> {
    let compared = rows.iter().any(|row| row.difference.is_some());
    let mut heading = vec!["MODEL", "MEASURE", "AT", "QUANTITY", "N", "MEAN", "STD", "P5", "MIN"];
    if compared {
        heading.extend(["DIFFERENCE", "95 %", "P (HOLM)"]);
    }
    let mut table = Table::new(&heading);
    for row in rows {
        let mut cells = cells(row);
        if compared {
            cells.extend(compared_cells(row));
        }
        table.row(cells);
    }
    table.lines()
}

fn cells(row: &Row) -> Vec<String> {
    let spread = row.spread;
    let repeated = |value: f64| if spread.n > 1 { number(value) } else { String::new() };
    vec![
        row.model.clone(),
        row.measure.clone(),
        row.at.map(|at| at.to_string()).unwrap_or_default(),
        row.quantity.to_owned(),
        spread.n.to_string(),
        number(spread.mean),
        spread.std.map(number).unwrap_or_default(),
        repeated(spread.p5),
        repeated(spread.min),
    ]
}

fn compared_cells(row: &Row) -> [String; 3] {
    let Some(difference) = &row.difference else { return Default::default() };
    let interval = ends(difference).map(|(low, high)| format!("{} to {}", number(low), number(high)));
    let p = difference.holm_p.map(|p| format!("{p:.3}"));
    [number(difference.mean), interval.unwrap_or_default(), p.unwrap_or_default()]
}

/// The ends of the interval of a comparison alone.
fn ends(difference: &Difference) -> Option<(f64, f64)> {
    let (mean, half) = (difference.mean, difference.half_width?);
    Some((mean - half, mean + half))
}

/// Five significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-3..1e5).contains(&size) => {
            let digits = if size == 0.0 { 4 } else { (4 - size.log10().floor() as i32).clamp(0, 7) };
            format!("{value:.*}", digits as usize)
        }
        _ if value.is_nan() => "-".to_owned(),
        _ => format!("{value:.4e}"),
    }
}

/// The results for programs that read tables; numbers have all their digits.
///
/// # Errors
/// Never, as it is written to memory.
pub fn csv(rows: &[Row]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        let (spread, difference) = (row.spread, row.difference);
        let of = |part: fn(&Difference) -> Option<f64>| {
            difference.as_ref().and_then(part).map(exact).unwrap_or_default()
        };
        let holm_p = difference.and_then(|difference| difference.holm_p);
        writer.write_record([
            row.model.clone(),
            row.measure.clone(),
            row.at.map(exact).unwrap_or_default(),
            row.quantity.to_owned(),
            spread.n.to_string(),
            exact(spread.mean),
            spread.std.map(exact).unwrap_or_default(),
            exact(spread.min),
            exact(spread.p5),
            of(|difference| Some(difference.mean)),
            of(|difference| Some(ends(difference)?.0)),
            of(|difference| Some(ends(difference)?.1)),
            difference.map(|difference| difference.n.to_string()).unwrap_or_default(),
            of(|difference| difference.p),
            holm_p.map(exact).unwrap_or_default(),
            holm_p.map(|p| (p < LEVEL).to_string()).unwrap_or_default(),
        ])?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// All digits; nothing for a value that is not a number.
fn exact(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

/// The report for people.
pub fn markdown(evaluation: &Evaluation, models: &[(String, Vec<Record>)], rows: &[Row]) -> String {
    let mut text = String::from("# Evaluation\n\n");
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "| model | digest of its weights |\n| --- | --- |");
    for model in &evaluation.models {
        let _ = writeln!(text, "| {} | `{}` |", cell(&model.name), model.digest);
    }
    let _ = writeln!(
        text,
        "\n{} samples of the {} split; seed {}; at most the time of {:.0} gradients of a batch of the job.\n\n## Results\n",
        evaluation.samples, evaluation.request.split, evaluation.request.seed, evaluation.cost_in_gradients
    );
    text.push_str(&results(rows, "model"));
    for (name, records) in models {
        for record in records {
            if let Record::Scores(scores) = record {
                classes(&mut text, name, scores, &evaluation.classes);
            }
        }
    }
    text
}

/// The results as a table in Markdown; `models` is what its first column is called.
pub fn results(rows: &[Row], models: &str) -> String {
    let mut text = String::new();
    let heading = [
        models,
        "measure",
        "at",
        "quantity",
        "n",
        "mean",
        "std",
        "p5",
        "min",
        "difference",
        "95 %",
        "p (Holm)",
    ];
    let _ = writeln!(text, "| {} |\n|{}", heading.join(" | "), " --- |".repeat(heading.len()));
    for row in rows {
        let cells: Vec<String> =
            cells(row).into_iter().chain(compared_cells(row)).map(|text| cell(&text)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// Accuracy of each class, and what each was taken for.
fn classes(text: &mut String, model: &str, scores: &Scores, names: &[String]) {
    let _ = writeln!(text, "\n## Classes of {}\n\n| class | accuracy |\n| --- | --- |", cell(model));
    let name = |class: usize| names.get(class).map_or_else(|| class.to_string(), |name| cell(name));
    let classes = scores.confusion.len();
    for (class, accuracy) in scores.class_accuracies.iter().enumerate() {
        let accuracy = accuracy.map(number).unwrap_or_default();
        let _ = writeln!(text, "| {} | {accuracy} |", name(class));
    }
    if classes > MOST_CLASSES || classes == 0 {
        return;
    }
    let heading: Vec<String> = (0..classes).map(name).collect();
    let _ = writeln!(
        text,
        "\nSamples of each class (row) by the class that was predicted (column):\n\n|  | {} |\n|{}",
        heading.join(" | "),
        " --- |".repeat(classes + 1)
    );
    for (class, row) in scores.confusion.iter().enumerate() {
        let counts: Vec<String> = row.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "| **{}** | {} |", name(class), counts.join(" | "));
    }
}

/// Text as a cell of a table in Markdown.
fn cell(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('|', "\\|")
}
