//! From the records of all models to the rows of one table.

use serde::Serialize;

use super::statistics::{Difference, Spread, differences};
use super::{EvaluatedSplit, Plan, Record};

/// One result of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// What was measured.
    pub measure: String,
    /// Level, radius or number; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<f64>,
    /// The quantity.
    pub quantity: String,
    /// Its spread over draws, m-batches or probes; over seeds where models of several are summarised together.
    #[serde(flatten)]
    pub spread: Spread,
    /// This model less the baseline, in pairs; absent for the baseline itself, and where there are no pairs. Holm's method
    /// is over all levels and models of this measure and quantity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// The values of one quantity of one model, in the order of draws, m-batches or probes.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    measure: String,
    at: Option<f64>,
    quantity: &'static str,
    values: Vec<f64>,
}

/// The rows of all models, measure by measure. `models` are names and records, the latter in the order of the plan's
/// units; `baseline` is the model with which the others are compared.
pub fn summarise(plan: &Plan, models: &[(String, Vec<Record>)], baseline: Option<usize>) -> Vec<Row> {
    let series: Vec<Vec<Series>> = models.iter().map(|(_, records)| series_of(plan, records)).collect();
    let Some(first) = series.first() else { return Vec::new() };
    // All models have the same series in the same order.
    let series_at = |model: usize, place: usize| &series[model][place];
    let mut rows = Vec::new();
    let mut pairs = Vec::new();
    for place in 0..first.len() {
        for (number, (name, _)) in models.iter().enumerate() {
            let Series { measure, at, quantity, values } = series_at(number, place);
            let Some(spread) = Spread::of(values) else { continue };
            let other = baseline.filter(|&baseline| baseline != number);
            let other = other.map(|baseline| &series_at(baseline, place).values);
            // A single value is a difference as well, but none that has an interval.
            let other = other.filter(|other| other.len() == values.len() && values.len() > 1);
            pairs.push(other.map_or_else(Vec::new, |other| less(values, other)));
            rows.push(Row {
                model: name.clone(),
                measure: measure.clone(),
                at: *at,
                quantity: (*quantity).to_owned(),
                spread,
                difference: None,
            });
        }
    }
    compare(&mut rows, &pairs);
    rows
}

/// Differences in pairs.
fn less(values: &[f64], other: &[f64]) -> Vec<f64> {
    values.iter().zip(other).map(|(own, other)| own - other).collect()
}

/// Sets the rows' differences, given by those of their pairs: each measure and quantity is a family of comparisons. Rows of
/// a family stand together.
pub fn compare(rows: &mut [Row], mut pairs: &[Vec<f64>]) {
    for family in
        rows.chunk_by_mut(|left, right| left.measure == right.measure && left.quantity == right.quantity)
    {
        let (own, others) = pairs.split_at(family.len());
        family.iter_mut().zip(differences(own)).for_each(|(row, difference)| row.difference = difference);
        pairs = others;
    }
}

fn series_of(plan: &Plan, records: &[Record]) -> Vec<Series> {
    let mut all = scores(plan, records);
    all.extend(noise(plan, records));
    all.extend(sharpness(plan, records));
    all.extend(hessian(plan, records));
    all
}

fn series(measure: &str, at: Option<f64>, quantity: &'static str, values: Vec<f64>) -> Series {
    Series { measure: measure.to_owned(), at, quantity, values }
}

/// Mean loss and accuracy of the model itself.
fn scores(plan: &Plan, records: &[Record]) -> Vec<Series> {
    let measure = match plan.request.split {
        EvaluatedSplit::Test => "test",
        EvaluatedSplit::Train => "train",
    };
    let mut found = Vec::new();
    for record in records {
        let Record::Scores(scores) = record else { continue };
        let values = [
            ("loss", Some(scores.loss)),
            ("accuracy", Some(scores.accuracy)),
            ("top5_accuracy", scores.top5_accuracy),
            ("calibration_error", Some(scores.calibration_error)),
        ];
        for (quantity, value) in values {
            found.extend(value.map(|value| series(measure, None, quantity, vec![value])));
        }
    }
    found
}

/// Curves over levels, and what they come to.
fn noise(plan: &Plan, records: &[Record]) -> Vec<Series> {
    let clean = records.iter().find_map(|record| match record {
        Record::Scores(scores) => Some(scores.accuracy),
        _ => None,
    });
    let mut found = Vec::new();
    for noise in &plan.request.noise {
        for &statistics in &noise.statistics {
            let measure = format!("noise {} {statistics}", noise.kind);
            let at_level = |wanted: f64| -> Vec<(f64, f64)> {
                let of = |record: &Record| match record {
                    Record::Noise { kind, statistics: used, level, loss, accuracy, .. }
                        if *kind == noise.kind && *used == statistics && *level == wanted =>
                    {
                        Some((*loss, *accuracy))
                    }
                    _ => None,
                };
                records.iter().filter_map(of).collect()
            };
            let levels: Vec<(f64, Vec<(f64, f64)>)> =
                noise.levels.iter().map(|&level| (level, at_level(level))).collect();
            let accuracies =
                |draws: &[(f64, f64)]| draws.iter().map(|(_, accuracy)| *accuracy).collect::<Vec<f64>>();
            for (quantity, value) in [("accuracy", 1), ("accuracy_drop", 2), ("loss", 0)] {
                for (level, draws) in &levels {
                    let values = draws.iter().map(|(loss, accuracy)| match (value, clean) {
                        (0, _) => *loss,
                        (2, Some(clean)) => clean - accuracy,
                        _ => *accuracy,
                    });
                    found.push(series(&measure, Some(*level), quantity, values.collect()));
                }
            }
            let curve: Vec<(f64, Vec<f64>)> =
                levels.iter().map(|(level, draws)| (*level, accuracies(draws))).collect();
            found.push(series(&measure, None, "area", areas(&curve)));
            let half = clean.and_then(|clean| level_at(&curve, clean / 2.0)).unwrap_or(f64::NAN);
            found.push(series(&measure, None, "level_at_half_accuracy", vec![half]));
        }
    }
    found
}

/// The mean accuracy over the range of levels, by trapezoids, for each draw. A level with one draw has the same accuracy
/// in all of them.
fn areas(curve: &[(f64, Vec<f64>)]) -> Vec<f64> {
    let mut curve: Vec<_> = curve.iter().collect();
    curve.sort_by(|left, right| left.0.total_cmp(&right.0));
    let draws = curve.iter().map(|(_, draws)| draws.len()).max().unwrap_or(0);
    let at = |draws: &[f64], draw: usize| draws.get(draw).or(draws.first()).copied().unwrap_or(f64::NAN);
    let range = curve.last().map_or(0.0, |last| last.0 - curve[0].0);
    let area = |draw| {
        let slices = curve.windows(2).map(|pair| {
            let mean = 0.5 * (at(&pair[0].1, draw) + at(&pair[1].1, draw));
            mean * (pair[1].0 - pair[0].0)
        });
        if range > 0.0 { slices.sum::<f64>() / range } else { at(&curve[0].1, draw) }
    };
    (0..draws).map(area).collect()
}

/// The level at which the mean accuracy falls to a value, interpolated; `None` if it does not.
fn level_at(curve: &[(f64, Vec<f64>)], wanted: f64) -> Option<f64> {
    let mut means: Vec<(f64, f64)> =
        curve.iter().filter_map(|(level, draws)| Some((*level, Spread::of(draws)?.mean))).collect();
    means.sort_by(|left, right| left.0.total_cmp(&right.0));
    let crossing = means.windows(2).find(|pair| (pair[0].1 > wanted) != (pair[1].1 > wanted))?;
    let [(low, before), (high, after)] = [crossing[0], crossing[1]];
    Some(low + (high - low) * (before - wanted) / (before - after))
}

fn sharpness(plan: &Plan, records: &[Record]) -> Vec<Series> {
    let Some(sharpness) = &plan.request.sharpness else { return Vec::new() };
    let start = records.iter().find_map(|record| match record {
        Record::Start { loss, accuracy, .. } => Some((*loss, *accuracy)),
        _ => None,
    });
    let Some((start_loss, start_accuracy)) = start else { return Vec::new() };
    let mut found = vec![
        series("sharpness start", None, "loss", vec![start_loss]),
        series("sharpness start", None, "accuracy", vec![start_accuracy]),
    ];
    for &wanted in &sharpness.measures {
        let name = match wanted.is_average() {
            true => format!("sharpness {wanted}"),
            false => format!("sharpness {wanted} m={}", sharpness.batch),
        };
        let increases = |at: f64| -> Vec<(f64, f64)> {
            let of = |record: &Record| match record {
                Record::Climb { measure, radius, loss, worst_loss, error_increase, .. }
                    if *measure == wanted && *radius == at =>
                {
                    Some((worst_loss - loss, *error_increase))
                }
                Record::Average { measure, radius, loss, accuracy, .. }
                    if *measure == wanted && *radius == at =>
                {
                    Some((loss - start_loss, start_accuracy - accuracy))
                }
                _ => None,
            };
            records.iter().filter_map(of).collect()
        };
        let radii: Vec<(f64, Vec<(f64, f64)>)> =
            sharpness.radii.iter().map(|&at| (at, increases(at))).collect();
        for (at, increases) in &radii {
            let losses = increases.iter().map(|(loss, _)| *loss).collect();
            found.push(series(&name, Some(*at), "loss_increase", losses));
        }
        for (at, increases) in &radii {
            let errors = increases.iter().map(|(_, error)| *error).collect();
            found.push(series(&name, Some(*at), "error_increase", errors));
        }
    }
    found
}

/// Eigenvalues that were not found, because the model has fewer, are not numbers: all models have the same rows.
fn hessian(plan: &Plan, records: &[Record]) -> Vec<Series> {
    let wanted = plan.request.hessian.as_ref().map_or(0, |hessian| hessian.eigenvalues as usize);
    let (mut found, mut greatest): (Vec<Series>, Vec<f64>) = (Vec::new(), Vec::new());
    for record in records {
        let Record::Eigenvalues { half, eigenvalues, .. } = record else { continue };
        let measure = if *half { "hessian half distance" } else { "hessian" };
        greatest.extend(eigenvalues.first());
        for place in 0..wanted {
            let value = eigenvalues.get(place).copied().unwrap_or(f64::NAN);
            found.push(series(measure, Some(place as f64 + 1.0), "eigenvalue", vec![value]));
        }
    }
    if let [whole, half] = greatest[..] {
        let disagreement = (half - whole).abs() / whole.abs().max(f64::MIN_POSITIVE);
        found.push(series("hessian", None, "disagreement", vec![disagreement]));
    }
    let probes: Vec<f64> = records
        .iter()
        .filter_map(|record| match record {
            Record::Trace { value, .. } => Some(*value),
            _ => None,
        })
        .collect();
    if !probes.is_empty() {
        found.push(series("hessian", None, "trace", probes));
    }
    found
}

#[cfg(test)]
mod tests;
