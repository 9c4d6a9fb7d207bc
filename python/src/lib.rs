//! `lookbehind._native`, what the Python package calls: the client of the command line tool, and its cluster in one
//! process. `python/lookbehind` puts types around it.
//!
//! - `call`: one call, which Python waits for or is called back from.
//! - `client`: the calls of a coordinator.
//! - `connection`: how they find it.
//! - `events`: what happens to a job that is followed.
//! - `training`: a job on a cluster in this process.
//! - `source`: jobs as Python hands them over.
//! - `errors`: errors as Python's exceptions.
//! - `runtime`: the threads behind the calls.
//!
//! Answers are JSON, in the form that `docs/json.md` describes. No call holds Python's global lock while it waits.

#![forbid(unsafe_code)]

mod call;
mod client;
mod connection;
mod errors;
mod events;
mod runtime;
mod source;
mod training;

use lookbehind_worker::memory::Metered;
use pyo3::prelude::*;

// Metered, so that the memory limit of `train` holds. Not the allocator of the programs, which keeps memory: this process
// is not ours alone.
#[global_allocator]
static ALLOCATOR: Metered<std::alloc::System> = Metered(std::alloc::System);

/// What the Python package calls.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::errors::{exit_codes, raise_job_ended};
    #[pymodule_export]
    use super::events::Events;
    #[pymodule_export]
    use super::source::Source;
    #[pymodule_export]
    use super::training::train;

    /// Version of the package and of its commands.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
