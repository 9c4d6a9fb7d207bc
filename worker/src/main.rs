//! `lookbehind-worker` with the models and data sets that come with it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use lookbehind_worker::memory::Metered;
use lookbehind_worker::registry::Registry;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Metered<MiMalloc> = Metered(MiMalloc);

fn main() -> ExitCode {
    lookbehind_worker::main_with(Registry::builtin())
}
