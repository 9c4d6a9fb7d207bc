//! `lookbehind-coordinator`: the program that takes jobs and coordinates workers.

#![forbid(unsafe_code)]

use std::process::ExitCode;

// Keeps large buffers mapped: otherwise page faults dominate the transfer of large models.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lookbehind_coordinator::main()
}
