//! `lookbehind` under a name of its own, so that the tests of this package find it built.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lookbehind::run(lookbehind_worker::registry::Registry::builtin())
}
