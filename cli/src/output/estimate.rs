//! Whether one more worker would help, from what the outer steps have cost.
//!
//! With W workers and S shards, per outer step:
//!
//! - computing takes as long as the worker with the most shards, ⌈S/W⌉ of them, and becomes ⌈S/(W+1)⌉/⌈S/W⌉ of
//!   what it was: shards are not divided, since they are part of the job;
//! - communication goes through the coordinator, whose link carries the weights down and the partial gradients
//!   up once per worker: it becomes (W+1)/W of what it was;
//! - the optimizer's time, waiting for slower workers, and what no item accounts for stay as they were.
//!
//! The new worker is taken to be like the others and to have a machine of its own.

use lookbehind_common::job::JobSpec;
use serde::Serialize;

use crate::json::TimeJson;

/// Differences below this share of an outer step drown in the drift of machines and networks.
const NOTICEABLE: f64 = 0.05;

/// What an outer step has cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Workers that took part.
    pub workers: u32,
    /// Mean seconds of an outer step.
    pub per_step: TimeJson,
}

/// The estimate and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OneMoreWorker {
    /// Workers that the estimate begins from.
    pub workers: u32,
    /// Mean seconds of an outer step, as measured.
    pub seconds_per_outer_step: f64,
    /// Seconds that an outer step would take with one more.
    pub estimated_seconds_per_outer_step: f64,
    /// The first divided by the second.
    pub speedup: f64,
    /// Whether it would help.
    pub helps: bool,
    /// The same in words, with the reason.
    pub verdict: String,
}

/// Estimates an outer step with one more worker; `None` where nothing was measured.
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

/// Why another worker would have nothing to do that makes an outer step shorter.
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
    let (now, then) = (now * 1e3, then * 1e3);
    let change = format!("an outer step would take about {then:.1} ms instead of {now:.1} ms");
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
