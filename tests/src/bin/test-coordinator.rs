//! `lookbehind-coordinator` under a name of its own, so that the tests of this package find it built. If its folder
//! contains a file `crash-at` with the name of a failpoint and a number N, it crashes when it reaches that point for
//! the Nth time.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Ok(text) = std::fs::read_to_string("crash-at") {
        crash_at(text.trim());
    }
    lookbehind_coordinator::main()
}

fn crash_at(point: &str) {
    let (name, count) = point.split_once(' ').unwrap_or((point, "1"));
    let left = AtomicU32::new(count.parse().unwrap_or(1));
    let context = move || {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    };
    if let Err(error) = fail::cfg_callback(name, context) {
        eprintln!("{name}: {error}");
    }
}
