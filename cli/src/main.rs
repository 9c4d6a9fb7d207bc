//! The command line tool with the built-in models and data sets.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use lookbehind_worker::memory::Metered;
use lookbehind_worker::registry::Registry;
use mimalloc::MiMalloc;

// This allocator keeps large buffers mapped. Otherwise page faults would dominate the exchange of tensors.
#[global_allocator]
static ALLOCATOR: Metered<MiMalloc> = Metered(MiMalloc);

fn main() -> ExitCode {
    lookbehind::run(Registry::builtin())
}
