//! What processes take of a machine: processors' time and memory.

use super::Failure;

/// Time of all processors since the machine was started, in the kernel's units.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    busy: u64,
    total: u64,
}

impl Processors {
    /// The times now.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn now() -> Result<Self, Failure> {
        /// Fields of the line, after which those of virtual machines repeat what `user` and `nice` contain.
        const FIELDS: usize = 8;
        /// Indices of `idle` and `iowait`.
        const IDLE: [usize; 2] = [3, 4];
        let text = std::fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().ok_or("/proc/stat is empty")?;
        let fields: Vec<u64> =
            line.split_whitespace().skip(1).take(FIELDS).map(str::parse).collect::<Result<_, _>>()?;
        let total = fields.iter().sum();
        let idle: u64 = IDLE.iter().filter_map(|index| fields.get(*index)).sum();
        Ok(Self { busy: total - idle, total })
    }

    /// The share of all processors that was in use since `earlier`, from 0 to 1.
    pub fn used_since(&self, earlier: &Self) -> f64 {
        (self.busy - earlier.busy) as f64 / (self.total - earlier.total).max(1) as f64
    }
}

/// Peak resident memory of a process, in bytes.
///
/// # Errors
/// If the process has ended.
pub fn peak_bytes(process: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0)
}

/// Processors' time in seconds that a process has used.
///
/// # Errors
/// If the process has ended.
pub(super) fn processor_seconds(process: u32) -> Result<f64, Failure> {
    /// Fields after the name of the program: `utime` and `stime`.
    const USED: [usize; 2] = [11, 12];
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may contain anything, and is in parentheses.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in the process's status")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = USED.iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Number of processors.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
