//! Division of shards over workers: contiguous ranges in proportion to measured speed. Only the duration of a job
//! depends on it, not its result: partials are added in the same reduction tree for every division.

use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

/// A worker that may be assigned shards, and the time that it takes for one, if measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) session: SessionId,
    pub(crate) seconds_per_shard: Option<f64>,
}

/// Speeds within this factor of the fastest count as equal: small differences are noise, and even ranges consist of
/// the fewest segments.
const EVEN: f64 = 1.25;

/// Divides the shards of `range` over `candidates`, in their order; `shards` is the number of shards of the whole
/// request. Returns the segments of each worker that gets any.
pub(crate) fn divide(
    range: Segment,
    shards: u32,
    candidates: &[Candidate],
) -> Vec<(SessionId, Vec<Segment>)> {
    let speeds = relative_speeds(candidates);
    let total: f64 = speeds.iter().sum();
    let mut assigned = Vec::new();
    // Ends are computed from the cumulative speed, so that rounding errors do not add up and the last range ends with
    // `range`.
    let mut first = range.first;
    let mut reached = 0.0;
    for (candidate, speed) in candidates.iter().zip(&speeds) {
        reached += speed;
        let end = range.first + (f64::from(range.len()) * reached / total).round() as u32;
        let end = end.clamp(first, range.end);
        let share = Segment { first, end };
        if !share.is_empty() {
            assigned.push((candidate.session, Segment::maximal_within(share, shards)));
        }
        first = end;
    }
    assigned
}

/// Speeds relative to the fastest worker; workers without a measurement count as the fastest.
fn relative_speeds(candidates: &[Candidate]) -> Vec<f64> {
    let measured = |candidate: &Candidate| candidate.seconds_per_shard.filter(|seconds| *seconds > 0.0);
    let fastest = candidates.iter().filter_map(measured).fold(f64::INFINITY, f64::min);
    candidates
        .iter()
        .map(|candidate| match measured(candidate) {
            Some(seconds) if seconds > fastest * EVEN => fastest / seconds,
            _ => 1.0,
        })
        .collect()
}

#[cfg(test)]
mod tests;
