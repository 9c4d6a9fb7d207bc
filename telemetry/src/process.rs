//! Resource usage of this process, as the operating system reports it.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// `process_resident_memory_bytes`, `process_cpu_seconds_total` and `process_start_time_seconds`, read from `/proc` at
/// each scrape. Without `/proc` these metrics are absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

/// The usage at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    resident_bytes: u64,
    /// User and system time.
    cpu_seconds: f64,
    /// Seconds since 1970.
    start_seconds: f64,
}

/// Units of the values in `/proc`.
#[derive(Clone, Copy, Debug)]
struct Units {
    page_bytes: u64,
    ticks_per_second: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(usage) = Usage::now() else {
            return Ok(());
        };
        let bytes = ConstGauge::new(usage.resident_bytes);
        let help = "Memory of the process that is in RAM.";
        let unit = Some(&Unit::Bytes);
        bytes.encode(encoder.encode_descriptor(
            "process_resident_memory",
            help,
            unit,
            bytes.metric_type(),
        )?)?;
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let (help, unit) = ("Processor time of the process.", Some(&Unit::Seconds));
        cpu.encode(encoder.encode_descriptor("process_cpu", help, unit, cpu.metric_type())?)?;
        let start = ConstGauge::new(usage.start_seconds);
        let help = "When the process started, since 1970.";
        start.encode(encoder.encode_descriptor("process_start_time", help, unit, start.metric_type())?)
    }
}

impl Usage {
    fn now() -> Option<Self> {
        let units = Units {
            page_bytes: rustix::param::page_size() as u64,
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
        };
        let read = |path| std::fs::read_to_string(path).ok();
        Self::parse(&read("/proc/self/stat")?, &read("/proc/self/statm")?, &read("/proc/stat")?, units)
    }

    /// Parses `/proc/self/stat`, `/proc/self/statm` and `/proc/stat`, see proc(5).
    fn parse(stat: &str, statm: &str, system: &str, units: Units) -> Option<Self> {
        // The second field is the program's name in parentheses. The name itself may contain spaces and parentheses.
        let after_name = stat.rsplit_once(')')?.1;
        // proc(5) counts fields from 1, and the first one after the name is field 3.
        let ticks = |field: usize| after_name.split_ascii_whitespace().nth(field - 3)?.parse::<f64>().ok();
        let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        let pages = statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?;
        Some(Self {
            resident_bytes: pages * units.page_bytes,
            cpu_seconds: (ticks(14)? + ticks(15)?) / units.ticks_per_second,
            start_seconds: boot + ticks(22)? / units.ticks_per_second,
        })
    }
}

#[cfg(test)]
mod tests;
