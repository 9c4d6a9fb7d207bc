use super::*;
use crate::fake_test::source;

/// A job of 8 shards.
fn spec() -> JobSpec {
    source().spec
}

fn costs(workers: u32, compute: f64, communication: f64) -> Costs {
    let route = Route::Coordinator;
    let total = compute + communication + 0.5;
    Costs {
        workers,
        route,
        per_step: TimeJson { total, compute, communication, optimizer: 0.5, waiting: 0.0, data: 0.0 },
    }
}

#[test]
fn formula_is_the_documented_one() {
    // 8 shards: ⌈8/3⌉/⌈8/2⌉ = 3/4 of the computing. Through the coordinator, three workers move the weights and five
    // partials, because 3 + 3 + 2 shards are five segments of the tree; two workers move the weights and two partials.
    let estimate = one_more_worker(&costs(2, 4.0, 0.3), &spec()).unwrap();
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
    close(estimate.seconds_per_outer_step, 4.8);
    close(estimate.estimated_seconds_per_outer_step, 3.0 + 0.3 * 6.0 / 3.0 + 0.5);
    close(estimate.speedup, 4.8 / 4.1);
    assert!(estimate.helps && estimate.verdict.starts_with("yes: "), "{}", estimate.verdict);
}

#[test]
fn workers_that_exchange_with_each_other_do_not_slow_each_other_down() {
    // 16 shards: seven workers have up to three, eight have two, each a segment of the tree.
    let mut spec = spec();
    spec.train.shards = 16;
    let costs = |route| Costs { route, ..costs(7, 3.0, 4.0) };
    let through = one_more_worker(&costs(Route::Coordinator), &spec).unwrap();
    let between = one_more_worker(&costs(Route::Workers), &spec).unwrap();
    assert!(between.helps, "{between:?}");
    assert!(between.speedup > through.speedup, "{between:?} {through:?}");
}

#[test]
fn costly_communication_speaks_against_another_worker() {
    let estimate = one_more_worker(&costs(2, 1.0, 4.0), &spec()).unwrap();
    assert!(!estimate.helps && estimate.speedup < 1.0);
    assert!(estimate.verdict.starts_with("no: communication"), "{}", estimate.verdict);
}

#[test]
fn a_small_difference_is_called_small() {
    let estimate = one_more_worker(&costs(2, 2.0, 0.5), &spec()).unwrap();
    assert!(!estimate.helps && estimate.verdict.starts_with("hardly: "), "{}", estimate.verdict);
}

#[test]
fn a_difference_that_is_not_shown_is_not_claimed() {
    assert_eq!(verdict(0.001_41, 0.001_42, -0.007), "hardly: an outer step would still take about 1.4 ms");
    assert!(verdict(0.0014, 0.0016, -0.04).ends_with("about 1.6 ms instead of 1.4 ms"));
}

#[test]
fn a_worker_that_leaves_the_longest_share_as_it_is_does_not_help() {
    // 8 shards on 4 workers are 2 each; on 5 some still have 2, on 8 all have 1.
    let estimate = one_more_worker(&costs(4, 4.0, 0.0), &spec()).unwrap();
    assert!(!estimate.helps);
    assert_eq!(
        estimate.verdict,
        "no: some worker would still have 2 of the 8 shards; 8 workers would have fewer"
    );
}

#[test]
fn no_more_workers_than_shards_can_help() {
    let estimate = one_more_worker(&costs(8, 4.0, 0.0), &spec()).unwrap();
    assert_eq!(estimate.verdict, "no: each of the 8 shards has a worker already");
    assert!(!estimate.helps);
}

#[test]
fn a_job_that_takes_no_more_workers_is_not_promised_any() {
    let mut spec = spec();
    spec.resources.max_workers = Some(2);
    let estimate = one_more_worker(&costs(2, 4.0, 0.0), &spec).unwrap();
    assert!(
        !estimate.helps && estimate.verdict.contains("resources.max_workers = 2"),
        "{}",
        estimate.verdict
    );
}

#[test]
fn nothing_measured_gives_no_estimate() {
    assert_eq!(
        one_more_worker(&Costs { per_step: TimeJson::default(), ..costs(2, 0.0, 0.0) }, &spec()),
        None
    );
}
