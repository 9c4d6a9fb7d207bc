//! Estimates whether one more worker would help, from the measured cost of the outer steps.
//!
//! With W workers and S shards, per outer step:
//!
//! - Computing takes as long as the worker with the most shards needs, which has ⌈S/W⌉ of them. It becomes
//!   ⌈S/(W+1)⌉/⌈S/W⌉ of what it was. Shards are not divided, because their number is part of the job.
//! - Communication goes through the coordinator, whose link carries the weights down and the partial gradients up once
//!   per worker. It becomes (W+1)/W of what it was. Where workers exchange with each other it grows less: for such jobs the
//!   estimate is too high.
//! - The time of the optimizer, the waiting for slower workers, and time that no item accounts for stay the same.
//!
//! The new worker is assumed to be like the others and to have its own machine.

use lookbehind_common::job::JobSpec;
use lookbehind_proto::json::TimeJson;
use serde::Serialize;

/// Smaller differences, as a share of an outer step, are not distinguishable from the variation of machines and
/// networks.
const NOTICEABLE: f64 = 0.05;

/// The measured cost of outer steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Number of workers that took part.
    pub workers: u32,
    /// Mean time split of an outer step, in seconds.
    pub per_step: TimeJson,
}

/// The estimate and its conclusion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OneMoreWorker {
    /// Number of workers on which the estimate is based.
    pub workers: u32,
    /// Measured mean seconds per outer step.
    pub seconds_per_outer_step: f64,
    /// Estimated seconds per outer step with one more worker.
    pub estimated_seconds_per_outer_step: f64,
    /// The measured time divided by the estimated one.
    pub speedup: f64,
    /// Whether another worker would help noticeably.
    pub helps: bool,
    /// The conclusion and its reason as text.
    pub verdict: String,
}

/// Estimates an outer step with one more worker; `None` if nothing was measured.
pub fn one_more_worker(costs: &Costs, spec: &JobSpec) -> Option<OneMoreWorker> {
    let Costs { workers, per_step } = *costs;
    if workers == 0 || per_step.total <= 0.0 {
        return None;
    }
    let shards = spec.train.shards;
    let (most, fewer) = (shards.div_ceil(workers), shards.div_ceil(workers + 1));
    let computing = per_step.compute * (1.0 - f64::from(fewer) / f64::from(most));
    let communication = per_step.communication / f64::from(workers);
    let estimated = per_step.total - computing + communication;
    let gain = (per_step.total - estimated) / per_step.total;
    let useless = no_use(workers, spec, most == fewer);
    let helps = useless.is_none() && gain >= NOTICEABLE;
    Some(OneMoreWorker {
        workers,
        seconds_per_outer_step: per_step.total,
        estimated_seconds_per_outer_step: estimated,
        speedup: per_step.total / estimated,
        helps,
        verdict: useless.unwrap_or_else(|| verdict(per_step.total, estimated, gain)),
    })
}

/// The reason why another worker cannot make an outer step shorter; `None` if it can.
fn no_use(workers: u32, spec: &JobSpec, same_load: bool) -> Option<String> {
    let shards = spec.train.shards;
    if spec.resources.max_workers.is_some_and(|max| workers >= max) {
        return Some(format!("no: the job takes no more than its resources.max_workers = {workers}"));
    }
    if workers >= shards {
        return Some(format!("no: each of the {shards} shards has a worker already"));
    }
    same_load.then(|| {
        let most = shards.div_ceil(workers);
        let next = shards.div_ceil(most - 1);
        format!(
            "no: some worker would still have {most} of the {shards} shards; {next} workers would have fewer"
        )
    })
}

fn verdict(now: f64, then: f64, gain: f64) -> String {
    let [now, then] = [now, then].map(|seconds| format!("{:.1} ms", seconds * 1e3));
    let change = match now == then {
        true => format!("an outer step would still take about {now}"),
        false => format!("an outer step would take about {then} instead of {now}"),
    };
    if gain >= NOTICEABLE {
        format!("yes: on a machine of its own, {change}")
    } else if gain > -NOTICEABLE {
        format!("hardly: {change}")
    } else {
        format!("no: communication would grow by more than computing would shrink; {change}")
    }
}

#[cfg(test)]
mod tests;
