//! What an outer step costs in which one of the workers that exchange fails.

use std::time::Duration;

use rustix::process::Signal;

use super::hosts::Hosts;
use super::setup::{Load, Placement};
use super::spread::Spread;
use super::{Failure, Samples};

/// Outer steps with all workers before one is disturbed, and of them those that are not measured.
const QUIET: u64 = 5;
const WARMUP: u64 = 2;
/// Most outer steps until all workers take part.
const JOINING: u64 = 20;
/// Outer steps after the disturbed one that are measured.
const AFTER: u64 = 3;

/// What happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Its process is killed.
    Killed,
    /// Its process is stopped, and its connections stay open.
    Frozen,
    /// Its link becomes this many times slower, from this rate in Mbit/s.
    Slow(f64, f64),
}

/// Seconds of outer steps.
#[derive(Debug)]
pub struct Disturbed {
    /// Of an undisturbed one: the median.
    pub usual: f64,
    /// Of the one in which the fault happens.
    pub disturbed: f64,
    /// Of the ones after it, in order.
    pub after: Vec<f64>,
}

impl Spread<'_> {
    /// Lets something happen to the last worker, when a part of an undisturbed outer step (0 to 1) has passed since the
    /// step's beginning.
    ///
    /// # Errors
    /// If the job does not go on, or takes longer than `limit`.
    pub fn disturb(
        &self,
        hosts: &Hosts,
        placement: Placement,
        fault: Fault,
        part: f64,
        load: Load,
        limit: Duration,
    ) -> Result<Disturbed, Failure> {
        let workers = self.workers.len();
        let last = self.workers.last().ok_or("no workers")?;
        let mut runner = self.runner(&load.to_string(), JOINING + QUIET + 1 + AFTER, limit)?;
        let mut samples = Samples::default();
        let mut quiet = 0;
        for _ in 0..JOINING + QUIET {
            let step = runner.step()?;
            if step.together == workers as f64 {
                quiet += 1;
                if quiet > WARMUP {
                    samples.push(step.total);
                }
            }
            if quiet == QUIET {
                break;
            }
        }
        if quiet < QUIET {
            return Err(format!("only {quiet} outer steps had all {workers} workers").into());
        }
        let usual = samples.median();
        std::thread::sleep(Duration::from_secs_f64(usual * part));
        match fault {
            Fault::Killed => last.signal(Signal::KILL)?,
            Fault::Frozen => last.signal(Signal::STOP)?,
            Fault::Slow(times, rate) => {
                hosts.set_rate(placement.first_worker() + workers - 1, rate / times)?;
            }
        }
        let disturbed = runner.step();
        let after: Result<Vec<f64>, Failure> =
            (0..AFTER).map(|_| runner.step().map(|step| step.total)).collect();
        if fault == Fault::Frozen {
            // A stopped process does not see that the benchmark is over.
            last.signal(Signal::KILL)?;
        }
        Ok(Disturbed { usual, disturbed: disturbed?.total, after: after? })
    }
}
