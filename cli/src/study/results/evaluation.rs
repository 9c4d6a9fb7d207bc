//! What the evaluations of a study show: a row for each variant and result, over the seeds.

use std::collections::BTreeMap;

use lookbehind_common::evaluate::{Row, Spread, compare};

use super::super::ledger::{Ledger, Measured, Record};
use super::super::plan::{Plan, Run};

/// The rows, result by result and in it variant by variant. Differences are to the baseline at equal seeds. Runs that are
/// not finished or have failed are left out.
pub fn evaluation_rows(plan: &Plan, runs: &[Run], ledger: &Ledger) -> Vec<Row> {
    let records: Vec<(usize, &Record)> =
        runs.iter().filter_map(|run| Some((run.variant, ledger.get(&run.key)?))).collect();
    let evaluated = |(_, record): &&(usize, &Record)| !record.evaluation.is_empty();
    // All models have the same results in the same order.
    let results = records.iter().find(evaluated).map_or(0, |(_, record)| record.evaluation.len());
    let baseline = plan.file.variants.iter().position(|variant| variant.name == plan.file.baseline);
    let (mut rows, mut pairs) = (Vec::new(), Vec::new());
    for result in 0..results {
        let base = baseline.map(|baseline| by_seed(&records, baseline, result)).unwrap_or_default();
        for (number, variant) in plan.file.variants.iter().enumerate() {
            let values = by_seed(&records, number, result);
            let Some((of, _)) = values.values().next() else { continue };
            let means: Vec<f64> = values.values().map(|(_, mean)| *mean).collect();
            let Some(spread) = Spread::of(&means) else { continue };
            let both = values.iter().filter_map(|(seed, (_, mean))| Some(mean - base.get(seed)?.1));
            pairs.push(if Some(number) == baseline { Vec::new() } else { both.collect() });
            rows.push(Row {
                model: variant.name.clone(),
                measure: of.measure.clone(),
                at: of.at,
                quantity: of.quantity.clone(),
                spread,
                difference: None,
            });
        }
    }
    compare(&mut rows, &pairs);
    rows
}

/// A result of a variant by seed, where it is finite.
fn by_seed<'a>(
    records: &[(usize, &'a Record)],
    variant: usize,
    result: usize,
) -> BTreeMap<u64, (&'a Measured, f64)> {
    let of = records.iter().filter(|(number, _)| *number == variant);
    let measured = of.filter_map(|(_, record)| {
        let measured = record.evaluation.get(result)?;
        Some((record.seed, (measured, measured.value?)))
    });
    measured.collect()
}
