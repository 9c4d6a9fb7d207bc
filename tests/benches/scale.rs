//! How well training scales past the machines that are here, by the coordinator's cost model of computing and of links:
//! the time of a gradient on one machine over W times that on W machines, with the same number of samples on each.
//!
//! Constants: the parameters of ResNet-50; a machine's samples per second, which depend on the machine and are an
//! argument; the time in which the coordinator adds and updates a parameter, measured here and now. Goodput of a link:
//! 0.94 of its rate, which is what TCP leaves of Ethernet.

use std::process::ExitCode;
use std::time::Instant;

use lookbehind_common::reduction::add_assign;
use lookbehind_coordinator::state::{Route, Traffic, predict};

/// Elements of ResNet-50: parameters and running statistics.
const ELEMENTS: usize = 25_557_032 + 53_120;
/// Samples of a batch for each machine, and shards of it.
const SAMPLES: u32 = 256;
const SHARDS: u32 = 8;
/// Machines and rates of their links in Gbit/s.
const MACHINES: [u32; 3] = [8, 16, 64];
const RATES: [f64; 3] = [10.0, 25.0, 100.0];
/// Share of a link's rate that is payload.
const GOODPUT: f64 = 0.94;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let speeds: Result<Vec<f64>, _> = arguments.iter().map(|argument| argument.parse()).collect();
    match speeds {
        Ok(speeds) if speeds.iter().all(|speed| *speed > 0.0) => {
            let given = if speeds.is_empty() { vec![400.0, 2500.0] } else { speeds };
            given.into_iter().for_each(print);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "usage: scale [SAMPLES_PER_SECOND ...]: how many samples a machine computes per second"
            );
            ExitCode::FAILURE
        }
    }
}

/// Prints the table for machines of one speed.
fn print(samples_per_second: f64) {
    let optimizer = optimizer_seconds();
    println!(
        "ResNet-50, {SAMPLES} samples a machine at {samples_per_second} per second, optimizer {:.0} ms\n",
        optimizer * 1e3
    );
    println!("| machines | route | 10 Gbit/s | 25 Gbit/s | 100 Gbit/s |\n|---|---|---|---|---|");
    let seconds_per_shard = f64::from(SAMPLES / SHARDS) / samples_per_second;
    let alone = f64::from(SHARDS) * seconds_per_shard + optimizer;
    for machines in MACHINES {
        for (route, name) in [(Route::Coordinator, "star"), (Route::Workers, "peers")] {
            let efficiency = RATES.map(|rate| {
                let copy_seconds = 4.0 * ELEMENTS as f64 / (rate * 1e9 / 8.0 * GOODPUT);
                let traffic = Traffic { route, copy_seconds, workers: machines };
                let speeds = vec![seconds_per_shard; machines as usize];
                let predicted = predict(machines * SHARDS, &speeds, &traffic);
                format!("{:.2}", alone / (predicted.computing + predicted.moving + optimizer))
            });
            println!("| {machines} | {name} | {} |", efficiency.join(" | "));
        }
    }
    println!();
}

/// Seconds in which this machine adds one gradient to another: the least of some rounds. An update of the optimizer reads
/// and writes about three times as much.
fn optimizer_seconds() -> f64 {
    let (mut left, right) = (vec![1.0_f32; ELEMENTS], vec![1.0_f32; ELEMENTS]);
    let round = |_| {
        let begun = Instant::now();
        add_assign(&mut left, &right);
        begun.elapsed().as_secs_f64()
    };
    3.0 * (0..5).map(round).fold(f64::INFINITY, f64::min)
}
