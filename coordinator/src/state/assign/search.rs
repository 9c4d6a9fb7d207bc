//! Searches the division of shards that takes the least time in the model.
//!
//! For limits of computing from the least possible one up, the cheapest division within the limit is found by dynamic
//! programming over the bounds between workers. Larger limits are tried while they can still pay. Within a limit, every
//! worker takes part that can: of one without shards, nothing new would become known.

use std::cmp::Ordering;

use lookbehind_common::reduction::Segment;

use super::model::{Load, Traffic};

/// What the model knows of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worker {
    /// The time that it computes for a shard, positive.
    pub(super) seconds_per_shard: f64,
    /// See `Candidate::link`.
    pub(super) link: f64,
}

/// Factor between the limits of computing that are tried, up to twice the least one: for few workers, and for many.
const FINE: f64 = 1.03;
const FINE_OF_MANY: f64 = 1.1;
/// The same beyond twice the least one.
const COARSE: f64 = 1.25;
/// Largest limit that is tried, as a multiple of the least one. Segments of the tree of up to twice the even share are
/// enough for one partial each.
const LARGEST: f64 = 4.0;
/// Up to so many workers are few.
const FEW: usize = 8;
/// Workers differ by at most about one in this many of their shards; by more if there are many workers, so that the search
/// takes little time. With more shards than that for each worker, bounds lie at multiples of a power of two.
const PER_WORKER: u32 = 32;
/// Bounds that are tried, unless there are more than half as many workers.
const BOUNDS: u32 = 512;

/// Seconds of a request with this division: the ranges of all workers.
pub(super) fn total(ranges: &[Segment], shards: u32, workers: &[Worker], traffic: &Traffic) -> f64 {
    let (computing, moving) = seconds(ranges, shards, workers, traffic);
    computing + moving
}

/// The same, of computing and of moving tensors.
pub(super) fn seconds(ranges: &[Segment], shards: u32, workers: &[Worker], traffic: &Traffic) -> (f64, f64) {
    let mut load = Load::default();
    let mut computing = 0.0_f64;
    for (range, worker) in ranges.iter().zip(workers) {
        load = load.and(traffic.of(count(Segment::root(shards), *range), worker.link));
        computing = computing.max(f64::from(range.len()) * worker.seconds_per_shard);
    }
    (computing, traffic.seconds(load))
}

/// Seconds below which no division of so many shards comes.
pub(super) fn least_seconds(shards: u32, workers: &[Worker], traffic: &Traffic) -> f64 {
    let speed: f64 = workers.iter().map(|worker| 1.0 / worker.seconds_per_shard).sum();
    f64::from(shards) / speed + traffic.least_seconds(1)
}

/// The division of `range` that takes the least time: a range of each worker, which may be empty. Without workers, none.
pub(super) fn best(range: Segment, shards: u32, workers: &[Worker], traffic: &Traffic) -> Vec<Segment> {
    let bounds = bounds(range, workers.len() as u32);
    let alone = workers.iter().map(|worker| worker.seconds_per_shard).reduce(f64::min);
    let Some(alone) = alone.map(|seconds| seconds * f64::from(range.len())) else { return Vec::new() };
    let least = least_computing(range.len(), workers);
    let most = alone.min(LARGEST * least);
    let fine = if workers.len() > FEW { FINE_OF_MANY } else { FINE };
    let search = Search { range, shards, bounds: &bounds, workers, traffic };
    let mut best: Option<(f64, Vec<Segment>)> = None;
    let (mut limit, mut known) = (least, Vec::new());
    loop {
        let limits: Vec<u32> = workers.iter().map(|worker| within(limit, worker)).collect();
        if limits != known
            && let Some(found) = search.cheapest(&limits)
        {
            let seconds = total(&found, shards, workers, traffic);
            if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                best = Some((seconds, found));
            }
        }
        known = limits;
        // What no smaller limit allowed computes for longer than this one, and everybody who has shards has a partial.
        let taking_part = known.iter().filter(|limit| **limit > 0).count().min(range.len() as usize) as u32;
        let can_pay = |(seconds, _): &(f64, _)| limit + traffic.least_seconds(taking_part) < *seconds;
        if limit >= alone || (limit >= most && best.is_some()) || !best.as_ref().is_none_or(can_pay) {
            break;
        }
        limit *= if limit < 2.0 * least { fine } else { COARSE };
        limit = limit.min(alone);
    }
    // The fastest worker alone computes everything within the last limit.
    best.map(|(_, ranges)| ranges).unwrap_or_default()
}

/// Shards that a worker computes within a time.
fn within(seconds: f64, worker: &Worker) -> u32 {
    // The quotient of a product may be less than the factor by a rounding error.
    (seconds / worker.seconds_per_shard * (1.0 + 1e-9)) as u32
}

/// The shortest time in which the workers compute so many shards together.
fn least_computing(shards: u32, workers: &[Worker]) -> f64 {
    let all = |seconds: f64| workers.iter().map(|worker| u64::from(within(seconds, worker))).sum::<u64>();
    let fastest = workers.iter().map(|worker| worker.seconds_per_shard).fold(f64::INFINITY, f64::min);
    let (mut less, mut enough) = (0.0, fastest * f64::from(shards));
    for _ in 0..50 {
        let middle = (less + enough) / 2.0;
        if all(middle) >= u64::from(shards) { enough = middle } else { less = middle }
    }
    enough
}

/// Where workers' ranges may begin and end.
fn bounds(range: Segment, workers: u32) -> Vec<u32> {
    let most = workers.saturating_mul(PER_WORKER).min(BOUNDS.max(workers.saturating_mul(2))).max(1);
    let step = range.len().div_ceil(most).next_power_of_two() as usize;
    let inner = (range.first.next_multiple_of(step as u32)..range.end).step_by(step);
    let mut bounds = vec![range.first];
    bounds.extend(inner.filter(|bound| *bound > range.first));
    bounds.push(range.end);
    bounds
}

/// Number of the largest segments of the tree within `segment` that together are `range`.
pub(super) fn count(segment: Segment, range: Segment) -> u32 {
    if range.is_empty() || range.end <= segment.first || segment.end <= range.first {
        return 0;
    }
    if range.contains(segment) {
        return 1;
    }
    segment.children().map_or(0, |(left, right)| count(left, range) + count(right, range))
}

/// A division of the shards up to a bound: what is compared, the most important first.
#[derive(Clone, Copy, Debug)]
struct Reached {
    /// Workers without shards.
    idle: u32,
    /// Seconds in which the tensors are moved.
    seconds: f64,
    partials: u32,
    load: Load,
    /// Index of the bound at which the last worker's range begins.
    from: usize,
}

impl Reached {
    fn is_better_than(&self, other: &Self) -> bool {
        let order = self.idle.cmp(&other.idle).then(self.seconds.total_cmp(&other.seconds));
        let order = order.then(self.partials.cmp(&other.partials));
        order == Ordering::Less
    }
}

/// The divisions up to each bound of a window.
struct Layer {
    /// Index of the first bound of the window.
    first: usize,
    reached: Vec<Option<Reached>>,
}

struct Search<'a> {
    range: Segment,
    shards: u32,
    bounds: &'a [u32],
    workers: &'a [Worker],
    traffic: &'a Traffic,
}

impl Search<'_> {
    /// The cheapest division in which no worker has more shards than its limit, if there is any.
    fn cheapest(&self, limits: &[u32]) -> Option<Vec<Segment>> {
        let start = Reached { seconds: 0.0, idle: 0, partials: 0, load: Load::default(), from: 0 };
        let mut layers = vec![Layer { first: 0, reached: vec![Some(start)] }];
        let mut behind: u64 = limits.iter().map(|limit| u64::from(*limit)).sum();
        let mut ahead = 0_u64;
        for (worker, limit) in self.workers.iter().zip(limits) {
            ahead += u64::from(*limit);
            behind -= u64::from(*limit);
            let layer = self.extend(layers.last()?, worker, *limit, (ahead, behind));
            layers.push(layer);
        }
        let mut ranges = Vec::new();
        let mut end = self.bounds.len() - 1;
        for layer in layers.iter().skip(1).rev() {
            let from = layer.reached.get(end.checked_sub(layer.first)?)?.as_ref()?.from;
            ranges.push(Segment { first: self.bounds[from], end: self.bounds[end] });
            end = from;
        }
        ranges.reverse();
        Some(ranges)
    }

    /// Adds the range of one more worker to all divisions. The workers up to this one can compute `ahead` shards, those
    /// after it `behind`: other bounds lead nowhere.
    fn extend(&self, before: &Layer, worker: &Worker, limit: u32, (ahead, behind): (u64, u64)) -> Layer {
        let least = (u64::from(self.range.end).saturating_sub(behind)).max(u64::from(self.range.first));
        let most = u64::from(self.range.first) + ahead;
        let first = self.bounds.partition_point(|bound| u64::from(*bound) < least);
        let end = self.bounds.partition_point(|bound| u64::from(*bound) <= most);
        let reach = |to: usize| {
            let lowest = self.bounds[to].saturating_sub(limit);
            let lowest = self.bounds.partition_point(|bound| *bound < lowest).max(before.first);
            let mut best: Option<Reached> = None;
            for from in lowest..=to {
                let Some(Some(reached)) = before.reached.get(from - before.first) else { continue };
                let range = Segment { first: self.bounds[from], end: self.bounds[to] };
                let partials = count(Segment::root(self.shards), range);
                let load = reached.load.and(self.traffic.of(partials, worker.link));
                let next = Reached {
                    seconds: self.traffic.seconds(load),
                    idle: reached.idle + u32::from(range.is_empty()),
                    partials: reached.partials + partials,
                    load,
                    from,
                };
                if best.is_none_or(|best| next.is_better_than(&best)) {
                    best = Some(next);
                }
            }
            best
        };
        Layer { first, reached: (first..end.max(first)).map(reach).collect() }
    }
}
