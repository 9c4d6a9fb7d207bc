use proptest::prelude::*;

use super::model::Route;
use super::*;

fn candidates(seconds: &[Option<f64>]) -> Vec<Candidate> {
    let candidate = |(index, seconds_per_shard): (usize, &Option<f64>)| Candidate {
        session: SessionId(index as u64 + 1),
        seconds_per_shard: *seconds_per_shard,
        link: 1.0,
    };
    seconds.iter().enumerate().map(candidate).collect()
}

fn traffic(route: Route, copy_seconds: f64, workers: usize) -> Traffic {
    Traffic { route, copy_seconds, workers: workers as u32 }
}

/// Between workers, at no cost.
fn free(workers: usize) -> Traffic {
    traffic(Route::Workers, 0.0, workers)
}

fn divided(shards: u32, seconds: &[Option<f64>], traffic: &Traffic) -> Division {
    divide(Segment::root(shards), shards, &candidates(seconds), traffic, &[])
}

fn lengths(division: &Division) -> Vec<u32> {
    division.iter().map(|(_, range)| range.len()).collect()
}

#[test]
fn equal_workers_get_equal_ranges() {
    let division = divided(8, &[None, None], &free(2));
    assert_eq!(lengths(&division), [4, 4]);
    let segments = segments(&division, 8);
    assert_eq!(segments[0].1, [Segment { first: 0, end: 4 }], "a worker's whole range is one partial");
}

#[test]
fn a_worker_of_a_third_of_the_speed_gets_a_third_of_the_shards() {
    assert_eq!(lengths(&divided(8, &[Some(0.01), Some(0.03)], &free(2))), [6, 2]);
}

#[test]
fn more_workers_than_shards_leave_some_without() {
    let division = divided(2, &[None; 5], &free(5));
    assert_eq!(lengths(&division), [1, 1]);
}

#[test]
fn every_worker_takes_part_if_that_costs_nothing() {
    assert_eq!(divided(4, &[None; 3], &free(3)).len(), 3);
}

#[test]
fn bounds_lie_on_the_tree_where_another_partial_costs_more_than_it_saves() {
    let seconds = [Some(1.0); 3];
    let partials = |copy_seconds, route| {
        let division = divided(64, &seconds, &traffic(route, copy_seconds, 3));
        segments(&division, 64).iter().map(|(_, segments)| segments.len()).sum::<usize>()
    };
    for route in [Route::Workers, Route::Coordinator] {
        assert!(partials(0.0, route) > 3, "bytes cost nothing, and each worker has a third");
        assert_eq!(partials(100.0, route), 3, "bytes cost more than all of computing");
    }
}

#[test]
fn a_worker_behind_a_slow_link_makes_one_partial() {
    let mut candidates = candidates(&[Some(1.0); 3]);
    candidates[0].link = 10.0;
    let division = divide(Segment::root(64), 64, &candidates, &traffic(Route::Workers, 2.0, 3), &[]);
    let segments = segments(&division, 64);
    let partials: Vec<usize> = segments.iter().map(|(_, segments)| segments.len()).collect();
    assert_eq!(partials, [1, 2, 2], "{segments:?}");
}

#[test]
fn a_division_is_kept_while_another_one_gains_little() {
    let known = divided(64, &[Some(1.0), Some(1.0)], &free(2));
    let after = |slower: f64| {
        let candidates = candidates(&[Some(1.0), Some(slower)]);
        divide(Segment::root(64), 64, &candidates, &free(2), &known)
    };
    assert_eq!(after(1.05), known);
    assert_eq!(lengths(&after(1.0 / 0.6)), [40, 24]);
    let others = divide(Segment::root(64), 64, &candidates(&[None; 3]), &free(3), &known);
    assert_eq!(others.len(), 3, "a worker has joined");
}

#[test]
fn what_a_lost_worker_leaves_is_divided_alike() {
    let rest = Segment { first: 16, end: 32 };
    let division = divide(rest, 64, &candidates(&[None; 2]), &traffic(Route::Workers, 1.0, 3), &[]);
    let ranges: Vec<Segment> = division.into_iter().map(|(_, range)| range).collect();
    assert_eq!(ranges, [Segment { first: 16, end: 24 }, Segment { first: 24, end: 32 }]);
}

/// The least seconds of all divisions in which every worker takes part, for every possible time of computing.
fn searched(shards: u32, workers: &[Worker], traffic: &Traffic) -> f64 {
    let mut times: Vec<f64> =
        workers.iter().flat_map(|w| (1..=shards).map(|n| f64::from(n) * w.seconds_per_shard)).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    let loads = |limit: f64| {
        // By first shard that is still to be divided: the least load of the workers so far.
        let mut reached: Vec<Option<model::Load>> = vec![None; shards as usize + 1];
        reached[0] = Some(model::Load::default());
        for worker in workers {
            let before = std::mem::replace(&mut reached, vec![None; shards as usize + 1]);
            for (first, load) in before.iter().enumerate() {
                let Some(load) = load else { continue };
                for (end, known) in reached.iter_mut().enumerate().skip(first + 1) {
                    let range = Segment { first: first as u32, end: end as u32 };
                    if f64::from(range.len()) * worker.seconds_per_shard > limit * (1.0 + 1e-9) {
                        break;
                    }
                    let partials = Segment::maximal_within(range, shards).len() as u32;
                    let next = load.and(traffic.of(partials, worker.link));
                    if known.is_none_or(|known| traffic.seconds(next) < traffic.seconds(known)) {
                        *known = Some(next);
                    }
                }
            }
        }
        reached[shards as usize]
    };
    let least = times.into_iter().filter_map(|time| Some(time + traffic.seconds(loads(time)?)));
    least.fold(f64::INFINITY, f64::min)
}

#[test]
fn divisions_come_within_a_twentieth_of_the_best_one() {
    let equal = |workers: usize| vec![Some(1.0); workers];
    let unequal = vec![Some(0.6), Some(1.0)];
    let cases = [equal(3), equal(5), equal(6), equal(7), unequal];
    for seconds in &cases {
        for route in [Route::Coordinator, Route::Workers] {
            // Moving a copy takes from a tenth of a shard to all shards of a worker.
            for copy_seconds in [0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
                let traffic = traffic(route, copy_seconds, seconds.len());
                let workers = workers(&candidates(seconds));
                let best = search::best(Segment::root(64), 64, &workers, &traffic);
                let found = search::total(&best, 64, &workers, &traffic);
                let least = searched(64, &workers, &traffic);
                assert!(
                    found <= 1.05 * least,
                    "{seconds:?}, {traffic:?}: {found} s with {best:?}, {least} s at best"
                );
            }
        }
    }
}

/// Measured and missing speeds, among them extreme values as from a broken clock.
fn any_seconds() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![8 => prop::option::of(0.0001_f64..10.0), 1 => Just(Some(0.0)), 1 => Just(Some(1e300)), 1 => Just(Some(1e-300))]
}

fn any_traffic() -> impl Strategy<Value = Traffic> {
    let route = prop_oneof![Just(Route::Coordinator), Just(Route::Workers)];
    let seconds = prop_oneof![Just(0.0), 0.0001_f64..10.0, Just(1e300)];
    (route, seconds, 1_u32..12).prop_map(|(route, copy_seconds, workers)| Traffic {
        route,
        copy_seconds,
        workers,
    })
}

proptest! {
    #[test]
    fn every_shard_is_given_to_exactly_one_worker(
        shards in 1_u32..200,
        seconds in prop::collection::vec(any_seconds(), 1..12),
        cut in (0.0_f64..1.0, 0.0_f64..1.0),
        traffic in any_traffic(),
    ) {
        let first = (f64::from(shards) * cut.0.min(cut.1)) as u32;
        let end = ((f64::from(shards) * cut.0.max(cut.1)) as u32 + 1).min(shards);
        let range = Segment { first, end };
        let division = divide(range, shards, &candidates(&seconds), &traffic, &[]);
        let sessions: Vec<SessionId> = division.iter().map(|(session, _)| *session).collect();
        prop_assert!(sessions.is_sorted_by(|one, next| one < next), "in the order of the workers, each once");
        let again = divide(range, shards, &candidates(&seconds), &traffic, &division);
        prop_assert_eq!(&again, &division, "what is best is kept");
        let assigned = segments(&division, shards);
        let given: Vec<u32> = assigned
            .iter()
            .flat_map(|(_, segments)| segments.iter().flat_map(|segment| segment.first..segment.end))
            .collect();
        prop_assert_eq!(given, (first..end).collect::<Vec<_>>());
        for segment in assigned.iter().flat_map(|(_, segments)| segments) {
            prop_assert_eq!(&Segment::maximal_within(*segment, shards)[..], &[*segment], "a segment of the tree");
        }
    }
}
