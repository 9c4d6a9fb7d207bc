//! The trace of an outer step: assignments, computation by worker, and the coordinator's own operations.

use std::time::{Duration, SystemTime};

use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use lookbehind_telemetry::traces::Span;

use crate::state::observation::{Fate, Part, RequestTimeline, StepTimeline};

/// The trace of an outer step that ended at `ended`.
pub(super) fn outer_step(
    job: &JobId,
    timeline: &StepTimeline,
    step: &v1::OuterStepMetrics,
    ended: SystemTime,
) -> Span {
    let origin = ended.checked_sub(timeline.length).unwrap_or(ended);
    Span::new("outer step", origin, ended)
        .with("job", job.to_string())
        .with("outer", number(step.outer_step))
        .with("epoch", number(step.epoch))
        .with("samples", number(step.samples))
        .with("loss", step.loss)
        .children(timeline.requests.iter().map(|request| gradient(origin, request)))
}

fn gradient(origin: SystemTime, request: &RequestTimeline) -> Span {
    let own = Duration::try_from_secs_f64(request.reduction + request.optimizer).unwrap_or_default();
    let gathered = origin + request.gathered;
    let (reduced, done) =
        (gathered + Duration::try_from_secs_f64(request.reduction).unwrap_or_default(), gathered + own);
    Span::new(if request.test { "test" } else { "gradient" }, origin + request.begun, done)
        .with("gradient", i64::from(request.index))
        .with("shards", i64::from(request.shards))
        .children(request.parts.iter().map(|part| shards(origin, gathered, part)))
        .child(Span::new("reduction", gathered, reduced))
        .child(Span::new("optimizer", reduced, done))
}

/// The span of a part. If its result never arrived, the span ends when the request had all its results.
fn shards(origin: SystemTime, gathered: SystemTime, part: &Part) -> Span {
    let delivered = part.delivered.map_or(gathered, |delivered| origin + delivered);
    let span = Span::new("shards", origin + part.assigned, delivered)
        .with("worker", part.worker.to_string())
        .with("shard.first", i64::from(part.segment.first))
        .with("shard.end", i64::from(part.segment.end))
        .with("compute", part.busy.compute)
        .with("data", part.busy.data);
    match part.fate {
        Fate::Lost => span.failed("the worker was lost"),
        Fate::Failed => span.failed("the worker could not compute it"),
        Fate::Asked | Fate::Used | Fate::Duplicate => span,
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
