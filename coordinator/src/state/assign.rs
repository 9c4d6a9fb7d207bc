//! Division of shards over workers: contiguous ranges, so that computing and moving tensors together take the least time
//! in the [model]. Only the duration of a job depends on it, not its result: partials are added in the same reduction
//! tree for every division.

mod basis;
pub(crate) mod model;
pub(crate) mod routes;
mod search;

use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

pub(crate) use self::basis::Basis;
use self::model::Traffic;
use self::search::Worker;

/// A worker that may be assigned shards, and what was measured of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) session: SessionId,
    /// The time that it computes for a shard, if measured.
    pub(crate) seconds_per_shard: Option<f64>,
    /// How many times as long as over the others' links a transfer takes over its own, at least 1.
    pub(crate) link: f64,
}

/// A division of shards: ranges of workers, in the order of the shards. Workers without shards have none.
pub(crate) type Division = Vec<(SessionId, Segment)>;

/// A division stays as long as no other one is shorter by more than this factor: workers have prepared the samples of
/// their shards, and speeds vary.
const KEEP: f64 = 1.05;
/// Workers count as at most this many times slower than the fastest one.
const SLOWEST: f64 = 1e6;

/// Divides the shards of `range` over `candidates`, in their order; `shards` is the number of shards of the whole
/// request, and `kept` the division that the workers know.
pub(crate) fn divide(
    range: Segment,
    shards: u32,
    candidates: &[Candidate],
    traffic: &Traffic,
    kept: &[(SessionId, Segment)],
) -> Division {
    let workers = workers(candidates);
    if let Some(kept) = fitting(range, candidates, kept) {
        let seconds = search::total(&kept, shards, &workers, traffic);
        let least = search::least_seconds(range.len(), &workers, traffic);
        if seconds <= KEEP * least {
            return with_shards(candidates, kept);
        }
        let best = search::best(range, shards, &workers, traffic);
        let is_better = seconds > KEEP * search::total(&best, shards, &workers, traffic);
        return with_shards(candidates, if is_better { best } else { kept });
    }
    with_shards(candidates, search::best(range, shards, &workers, traffic))
}

/// Seconds of a request of `shards` shards in the division of them that takes the least time in the model.
pub(crate) fn quickest(shards: u32, candidates: &[Candidate], traffic: &Traffic) -> f64 {
    let workers = workers(candidates);
    search::total(&search::best(Segment::root(shards), shards, &workers, traffic), shards, &workers, traffic)
}

/// How long a gradient request takes in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Seconds in which the worker that needs longest computes.
    pub computing: f64,
    /// Seconds in which weights and partials are moved.
    pub moving: f64,
}

/// How long a gradient request of `shards` shards takes in the best division over workers that compute for so many seconds
/// per shard.
pub fn predict(shards: u32, seconds_per_shard: &[f64], traffic: &Traffic) -> Prediction {
    let workers = seconds_per_shard.iter().map(|seconds| Worker { seconds_per_shard: *seconds, link: 1.0 });
    let workers: Vec<Worker> = workers.collect();
    let best = search::best(Segment::root(shards), shards, &workers, traffic);
    let (computing, moving) = search::seconds(&best, shards, &workers, traffic);
    Prediction { computing, moving }
}

/// The segments of which each worker makes a partial.
pub(crate) fn segments(division: &[(SessionId, Segment)], shards: u32) -> Vec<(SessionId, Vec<Segment>)> {
    let segments = |(session, range): &(_, Segment)| (*session, Segment::maximal_within(*range, shards));
    division.iter().map(segments).collect()
}

fn with_shards(candidates: &[Candidate], ranges: Vec<Segment>) -> Division {
    let all = candidates.iter().map(|candidate| candidate.session).zip(ranges);
    all.filter(|(_, range)| !range.is_empty()).collect()
}

/// The ranges of a known division for each candidate, if it divides this range over no others.
fn fitting(range: Segment, candidates: &[Candidate], kept: &[(SessionId, Segment)]) -> Option<Vec<Segment>> {
    let mut known = kept.iter().peekable();
    let mut first = range.first;
    let ranges = candidates.iter().map(|candidate| {
        let of = known.next_if(|(session, of)| *session == candidate.session && of.first == first);
        let of = of.map_or(Segment { first, end: first }, |(_, of)| *of);
        first = of.end;
        of
    });
    let ranges: Vec<Segment> = ranges.collect();
    (known.next().is_none() && first == range.end).then_some(ranges)
}

/// What the search needs of the candidates. Those without a measurement count as the fastest.
fn workers(candidates: &[Candidate]) -> Vec<Worker> {
    let measured = |candidate: &Candidate| candidate.seconds_per_shard.filter(|seconds| *seconds > 0.0);
    let fastest = candidates.iter().filter_map(measured).reduce(f64::min).unwrap_or(1.0);
    let worker = |candidate: &Candidate| Worker {
        seconds_per_shard: measured(candidate).map_or(fastest, |seconds| seconds.min(SLOWEST * fastest)),
        link: candidate.link,
    };
    candidates.iter().map(worker).collect()
}

#[cfg(test)]
mod tests;
