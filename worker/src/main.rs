//! `lookbehind-worker` with the models and data sets that come with it.

use std::process::ExitCode;

use lookbehind_worker::registry::Registry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lookbehind_worker::main_with(Registry::builtin())
}
