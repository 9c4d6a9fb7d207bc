//! Runs thousands of fault schedules against the coordinator's core, each from one seed, without sockets or clocks.
//!
//! `SIMULATION_SCHEDULES=N` sets the number of schedules, `SIMULATION_SEED=S` runs a single one, and
//! `SIMULATION_TRACE=1` prints the events of it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod agenda;
mod audits;
mod dice;
mod disk;
mod executor;
mod faults;
mod fetches;
mod invariants;
mod jobs;
mod lies;
mod peers;
mod process;
mod stale;
mod storage;
mod streams;
mod toy;
mod transfers;
mod users;
mod weights;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// Default number of schedules.
const SCHEDULES: u64 = 20_000;
/// Number of schedules that run in parallel.
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// Runs one schedule and returns the first violation of an invariant.
fn broken_by(seed: u64, trace: bool) -> Option<String> {
    let run = catch_unwind(AssertUnwindSafe(|| World::new(seed, trace).run()));
    match run {
        Ok(outcome) => outcome.violation,
        Err(_) => Some("it panicked".into()),
    }
}

#[test]
fn no_fault_schedule_breaks_a_promise() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let broken = broken_by(seed, number("SIMULATION_TRACE") == Some(1));
        assert_eq!(broken, None, "seed {seed}");
        return;
    }
    let schedules = number("SIMULATION_SCHEDULES").unwrap_or(SCHEDULES);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(0_u64));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < schedules
                {
                    if let Some(broken) = broken_by(seed, false) {
                        let mut failed = failed.lock().unwrap();
                        *failed += 1;
                        println!(
                            "SIMULATION_SEED={seed} cargo test --release -p lookbehind-coordinator --test \
                             simulation  # {broken}"
                        );
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert_eq!(failed, 0, "of {schedules} schedules");
}

#[test]
fn a_schedule_follows_from_its_seed() {
    let run = |seed| {
        let outcome = World::new(seed, false).run();
        (outcome.took, outcome.events, outcome.violation)
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
