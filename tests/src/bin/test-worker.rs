//! `lookbehind-worker` under a name of its own, so that the tests of this package find it built.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use lookbehind_worker::memory::Metered;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Metered<MiMalloc> = Metered(MiMalloc);

fn main() -> ExitCode {
    lookbehind_worker::main_with(lookbehind_worker::registry::Registry::builtin())
}
