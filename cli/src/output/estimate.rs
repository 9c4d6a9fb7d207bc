//! Estimates whether one more worker would help, from the measured cost of the outer steps.
//!
//! The coordinator's own cost model says how long computing and moving tensors take with W workers and with W + 1, when it
//! divides the shards between them ([`lookbehind_coordinator::state::predict`]):
//!
//! - Computing takes as long as the worker with the most shards needs. Shards are not divided, because their number is
//!   part of the job.
//! - Through the coordinator, whose link carries everything, moving weights and partials takes longer with each partial.
//!   Between workers it takes the same for any number of them, unless one makes several partials.
//! - Both parts of the measured time change as the model says. The time of the optimizer, the waiting for slower workers, and time that no item accounts for stay the same.
//!
//! The new worker is assumed to be like the others and to have its own machine.

use lookbehind_common::job::JobSpec;
use lookbehind_coordinator::state::{Prediction, Route, Traffic, predict};
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
    /// How weights and partials travelled.
    pub route: Route,
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
    let Costs { workers, per_step, .. } = *costs;
    if workers == 0 || per_step.total <= 0.0 {
        return None;
    }
    let shards = spec.train.shards;
    let (most, fewer) = (shards.div_ceil(workers), shards.div_ceil(workers + 1));
    let [now, then] = predictions(costs, shards);
    let change =
        |measured: f64, now: f64, then: f64| if now > 0.0 { measured * (then / now - 1.0) } else { 0.0 };
    let estimated = per_step.total
        + change(per_step.compute, now.computing, then.computing)
        + change(per_step.communication, now.moving, then.moving);
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

/// What the model says of as many workers as there are, and of one more, in seconds per outer step.
fn predictions(costs: &Costs, shards: u32) -> [Prediction; 2] {
    let Costs { workers, route, per_step } = *costs;
    let most = shards.div_ceil(workers).max(1);
    // Positive, so that shards are divided evenly where nothing was measured.
    let seconds_per_shard = (per_step.compute / f64::from(most)).max(1e-9);
    let with = |workers: u32, copy_seconds: f64| {
        let traffic = Traffic { route, copy_seconds, workers };
        predict(shards, &vec![seconds_per_shard; workers as usize], &traffic)
    };
    // The division depends on what a copy costs, and the other way round: from that of the best division for computing.
    let per_copy = with(workers, f64::MIN_POSITIVE).moving / f64::MIN_POSITIVE;
    let copy_seconds = per_step.communication / per_copy.max(1.0);
    [workers, workers + 1].map(|workers| with(workers, copy_seconds))
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
