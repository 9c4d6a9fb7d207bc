//! A real job under random faults: its workers and its coordinator are killed, frozen, asked to stop and started again,
//! the disk is full and certificates are renewed at random outer steps, round after round, and every outer step has the
//! weights of the undisturbed run.
//!
//! `CHAOS_SEED` replays one round, `CHAOS_ROUNDS` runs more of them. `CHAOS_MINUTES` runs rounds on one cluster for as long,
//! prints what each costs, and requires that logs and memory stay small.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod cluster;
mod faults;
mod observer;

use std::time::{Duration, Instant};

use lookbehind_common::random::{Key, Purpose};
use lookbehind_tests::client::History;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::{LONG_STEPS, job, long_job};

use cluster::Chaos;
use faults::Fault;
use observer::Observer;

/// Default number of rounds.
const ROUNDS: u64 = 4;
/// Fewest and most outer steps between two faults.
const GAP: (u64, u64) = (20, 120);

/// Bytes that the log of a process may have.
const LONGEST_LOG: u64 = 1_000_000;
/// Bytes that a process may have in memory at once.
const MOST_MEMORY: u64 = 256 << 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The seeds of this run's rounds.
fn seeds() -> Vec<u64> {
    match number("CHAOS_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("CHAOS_ROUNDS").unwrap_or(ROUNDS)).collect(),
    }
}

/// Prints how a failed round can be replayed.
struct Replay {
    seed: u64,
    done: Vec<(u64, Fault)>,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, done } = self;
            eprintln!("faults so far, with the outer steps before them: {done:?}");
            eprintln!("replay with CHAOS_SEED={seed} cargo test --release -p lookbehind-tests --test chaos");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_frozen_full_or_renewed_every_outer_step_is_the_same() {
    let undisturbed = Cluster::of(1).await.client().run(&job(&long_job())).await;
    match number("CHAOS_MINUTES") {
        None => {
            for seed in seeds() {
                round(seed, &mut Chaos::new().await, &undisturbed).await;
            }
        }
        Some(minutes) => soak(Duration::from_secs(60 * minutes), &undisturbed).await,
    }
}

/// Round after round on one cluster, which must not cost more and more.
async fn soak(length: Duration, undisturbed: &History) {
    let (begun, mut chaos) = (Instant::now(), Chaos::new().await);
    for seed in (1..).take_while(|_| begun.elapsed() < length) {
        let id = round(seed, &mut chaos, undisturbed).await;
        chaos.delete(&id).await;
        let (log, memory) = chaos.cost();
        let minutes = begun.elapsed().as_secs() / 60;
        println!(
            "minute {minutes}, round {seed}: digest {}, longest log {} kB, most memory of a process {} MiB",
            undisturbed.digest(),
            log / 1000,
            memory >> 20
        );
        assert!(log <= LONGEST_LOG, "a log of {log} bytes");
        assert!(memory <= MOST_MEMORY, "a process with {memory} bytes");
    }
}

/// A job under random faults. Returns its identity.
async fn round(seed: u64, chaos: &mut Chaos, undisturbed: &History) -> String {
    let mut replay = Replay { seed, done: Vec::new() };
    let mut dice = Key::new(seed, Purpose::Probe).stream();
    let id = chaos.submit().await;
    let mut observer = Observer::new(chaos.client(), &id);
    let mut next = 1;
    loop {
        next += GAP.0 + dice.below(GAP.1 - GAP.0);
        if next >= LONG_STEPS {
            break;
        }
        observer.until_step(next).await;
        let fault = Fault::draw(&mut dice, &chaos.workers());
        replay.done.push((next, fault));
        chaos.suffer(fault, &id).await;
    }
    let (seen, ()) = tokio::join!(observer.finish(), chaos.attend(&id));
    seen.check_whole();
    let digests =
        |history: &History| history.steps.iter().map(|step| step.digest.clone()).collect::<Vec<_>>();
    assert_eq!(digests(&seen), digests(undisturbed));
    assert_eq!(chaos.client().weights(&id).await.1, undisturbed.digest());
    id
}
