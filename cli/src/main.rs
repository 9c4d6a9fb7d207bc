//! The command line tool with the models and data sets that Lookbehind brings along.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use lookbehind_worker::memory::Metered;
use lookbehind_worker::registry::Registry;
use mimalloc::MiMalloc;

// Keeps big buffers mapped: page faults would dominate the exchange of tensors.
#[global_allocator]
static ALLOCATOR: Metered<MiMalloc> = Metered(MiMalloc);

fn main() -> ExitCode {
    lookbehind::run(Registry::builtin())
}
