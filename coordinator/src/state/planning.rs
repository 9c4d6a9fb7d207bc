//! A job on its data: how many outer steps it has, and whether what it asks for can be measured.

use lookbehind_common::job::{JobDescription, JobSpec, Unit};
use lookbehind_common::sampling::Plan;
use lookbehind_common::test_set::TestSet;

/// Checks that there are samples to measure what evaluations are compared by.
fn check_criteria(spec: &JobSpec, description: &JobDescription) -> Result<(), String> {
    let kept = spec.checkpoint.keep_best.map(|criterion| ("checkpoint.keep_best", criterion));
    let stopping = spec.early_stopping.map(|stopping| ("early_stopping.metric", stopping.criterion));
    let mut criteria = kept.into_iter().chain(stopping);
    let missing = criteria.find(|(_, criterion)| description.samples_of(criterion.set()) == 0);
    missing.map_or(Ok(()), |(key, criterion)| {
        let (name, how) = match criterion.set() {
            TestSet::Validation => {
                ("validation", "; data.validation sets some of the training samples apart")
            }
            _ => ("test", ""),
        };
        Err(format!("{key}: {} needs {name} samples, and the data have none{how}", criterion.as_str()))
    })
}

/// Plans a job on its data.
pub(super) fn plan(spec: &JobSpec, description: &JobDescription) -> Result<Plan, String> {
    let (samples, batch_size) = (description.train_samples, spec.train.batch_size);
    let batches = spec.optimizer.method.batches_per_outer_step();
    let plan = Plan::new(samples, batch_size, spec.data.drop_last, batches, spec.train.length);
    check_criteria(spec, description)?;
    let plan = plan.ok_or_else(|| {
        format!(
            "train.batch_size: an epoch of {samples} samples in batches of {batch_size} with drop_last = {} \
             holds no batch, or the run is too long to count",
            spec.data.drop_last
        )
    })?;
    let (warmup, steps) = (spec.schedule.warmup, plan.outer_steps);
    if spec.schedule.unit == Unit::Step && warmup >= steps {
        return Err(format!(
            "schedule.warmup: expected less than the run's {steps} outer steps, found {warmup}"
        ));
    }
    Ok(plan)
}
