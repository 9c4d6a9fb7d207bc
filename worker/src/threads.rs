//! Settings that libraries read from the environment only once: the number of threads of the tensor library, and
//! whether the allocator keeps memory.

use std::process::Command;
use std::thread::available_parallelism;

/// The environment variable from which the tensor library reads its number of threads.
pub const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// The environment variable for the threads of its elementwise operations. They busy-wait, and all shards that are
/// computed in parallel would share them; this project's own kernels do the work that is worth threads.
const ELEMENTWISE_VARIABLE: &str = "CANDLE_NUM_THREADS";

/// The environment variable that makes this project's allocator keep the memory that a step frees for the next one:
/// returning it to the system and clearing it again costs a tenth of a large model's step.
const KEEP_MEMORY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "-1");

/// Fixes the number of threads for the life of the process, at what the machine or container offers, unless
/// [`THREADS_VARIABLE`] is set. Call it first in `main`: if the variable is not set, the program replaces itself by
/// itself with the variable set (same process, arguments and open files).
///
/// Without the variable the tensor library counts the machine's cores again at every matrix product, which takes
/// several times as long as a small model's matrix products themselves; and a process cannot safely change its
/// environment once it runs. Results do not depend on the number of threads.
///
/// If the program cannot be replaced, it continues as it is.
pub fn fix_number_of_threads() {
    if std::env::var_os(THREADS_VARIABLE).is_some() {
        return;
    }
    if let (Ok(threads), Ok(program)) = (available_parallelism(), std::env::current_exe()) {
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).env(THREADS_VARIABLE, threads.to_string());
        command.env(ELEMENTWISE_VARIABLE, "1").env(KEEP_MEMORY.0, KEEP_MEMORY.1);
        replace_process(command);
    }
}

/// Returns only if it fails.
#[cfg(unix)]
fn replace_process(mut command: Command) {
    use std::os::unix::process::CommandExt;
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    let error = command.exec();
    tracing::debug!(%error, "the number of threads is not fixed");
}

#[cfg(not(unix))]
fn replace_process(_command: Command) {}

#[cfg(test)]
mod tests;
