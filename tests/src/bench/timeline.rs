//! How busy the link of each host is over time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hosts::{Counters, Hosts};
use super::{Failure, Table};

/// Time between two readings of the counters.
const INTERVAL: Duration = Duration::from_millis(4);
/// Intervals into which a time is cut.
const PARTS: u32 = 60;

/// When, and the bytes that each host had received and sent by then.
type Reading = (Instant, Vec<[u64; 2]>);

/// Reads the counters of all hosts, until it is asked for what it has read.
pub struct Timeline {
    reader: JoinHandle<Vec<Reading>>,
    is_over: Arc<AtomicBool>,
}

impl Timeline {
    /// Begins to read.
    pub fn begin(hosts: &Hosts) -> Self {
        let counters: Vec<Counters> = hosts.all().map(|host| host.counters()).collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_over);
        let read = move || {
            let mut readings = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let of_hosts: Result<Vec<(u64, u64)>, Failure> =
                    counters.iter().map(Counters::read).collect();
                // A host that is gone ends it.
                let Ok(of_hosts) = of_hosts else { break };
                let of_hosts = of_hosts.into_iter().map(|(received, sent)| [received, sent]).collect();
                readings.push((Instant::now(), of_hosts));
                std::thread::sleep(INTERVAL);
            }
            readings
        };
        Self { reader: std::thread::spawn(read), is_over }
    }

    /// Prints how busy each direction of each link was from `begin` to `end`, in tenths of `rate` bytes per second.
    ///
    /// # Errors
    /// If nothing was read, or the reader has panicked.
    pub fn print(self, begin: Instant, end: Instant, rate: f64) -> Result<(), Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        let readings = self.reader.join().map_err(|_| "the reader of the counters has panicked")?;
        let part = (end - begin) / PARTS;
        let milliseconds = part.as_secs_f64() * 1e3;
        let header = format!("tenths of the rate, one digit for {milliseconds:.0} ms");
        let table = Table::new(&["host", "direction", &header, "mean, %"]);
        let hosts = readings.first().map_or(0, |(_, of_hosts)| of_hosts.len());
        for host in 0..hosts {
            for (direction, name) in ["received", "sent"].into_iter().enumerate() {
                let bytes = |at: Instant| count(&readings, at, host, direction);
                let share =
                    |from: Instant, to: Instant| (bytes(to) - bytes(from)) / (to - from).as_secs_f64() / rate;
                let digit = |number: u32| {
                    let from = begin + part * number;
                    let tenths = (share(from, from + part) * 10.0).floor().clamp(0.0, 9.0) as u32;
                    char::from_digit(tenths, 10).unwrap_or('?')
                };
                let name_of_host =
                    if host == 0 { "coordinator".to_owned() } else { format!("worker {host}") };
                let digits: String = (0..PARTS).map(digit).collect();
                let mean = format!("{:.0}", share(begin, end) * 100.0);
                table.row(&[name_of_host, name.to_owned(), digits, mean]);
            }
        }
        Ok(())
    }
}

/// The bytes of a host in a direction at a time, between readings as if they had come evenly.
fn count(readings: &[Reading], at: Instant, host: usize, direction: usize) -> f64 {
    let next = readings.partition_point(|(read, _)| *read < at);
    let bytes =
        |index: usize| readings.get(index).map(|(read, of_hosts)| (*read, of_hosts[host][direction] as f64));
    match (next.checked_sub(1).and_then(bytes), bytes(next)) {
        (Some((before, low)), Some((after, high))) => {
            let share = (at - before).as_secs_f64() / (after - before).as_secs_f64();
            low + (high - low) * share
        }
        (Some((_, bytes)), None) | (None, Some((_, bytes))) => bytes,
        (None, None) => 0.0,
    }
}
