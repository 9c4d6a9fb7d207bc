//! The pictures of a study.

use std::collections::BTreeMap;

use lookbehind_common::evaluate::Spread;

use super::super::ledger::Ledger;
use super::super::plan::{Plan, Run};
use super::Row;
use crate::chart::{Curve, Point, Value, curves, values};

/// The study's metric of each variant: its mean, the dots of its seeds, and the interval of its difference to the
/// baseline.
pub fn accuracy_picture(plan: &Plan, rows: &[Row]) -> String {
    let value = |row: &Row| {
        let dots: Vec<f64> = row.by_seed.values().copied().collect();
        let mean = Spread::of(&dots)?.mean;
        let half_width = row.difference.and_then(|difference| difference.half_width);
        Some(Value { name: row.variant.clone(), value: mean, half_width, dots })
    };
    let title = format!("{}: interval of the paired difference to {}", plan.file.name, plan.file.baseline);
    values(&title, "test accuracy, %", &rows.iter().filter_map(value).collect::<Vec<_>>())
}

/// The test accuracy over gradients, as the mean over the seeds.
pub fn curves_picture(plan: &Plan, runs: &[Run], ledger: &Ledger) -> String {
    let of = |(number, name): (usize, &String)| {
        let mut sums: BTreeMap<u64, (f64, u32)> = BTreeMap::new();
        let records = runs.iter().filter(|run| run.variant == number).filter_map(|run| ledger.get(&run.key));
        for point in records.filter(|record| record.failed.is_none()).flat_map(|record| &record.curve) {
            if let Some(test) = point.test {
                let (sum, count) = sums.entry(point.gradients).or_default();
                *sum += 100.0 * test;
                *count += 1;
            }
        }
        let points = sums
            .into_iter()
            .map(|(gradients, (sum, count))| Point::new(gradients as f64, sum / f64::from(count)));
        Curve { name: name.clone(), points: points.collect() }
    };
    let names: Vec<&String> = plan.file.variants.iter().map(|variant| &variant.name).collect();
    let drawn: Vec<Curve> = names.into_iter().enumerate().map(of).collect();
    let title = format!("{}: test accuracy, mean over seeds", plan.file.name);
    curves(&title, "gradients", "test accuracy, %", &drawn)
}
