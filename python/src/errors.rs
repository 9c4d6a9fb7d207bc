//! Errors as Python's exceptions: one class for each exit code of the command line tool, with the words that it prints.

use lookbehind::error::CliError;
use lookbehind::exit::Exit;
use lookbehind_proto::json::{state_name, state_named};
use pyo3::prelude::*;

/// The exception for an error. `lookbehind/errors.py` has the classes.
pub(crate) fn exception(py: Python<'_>, error: &CliError) -> PyErr {
    let made = py
        .import("lookbehind.errors")
        .and_then(|errors| errors.getattr("of_exit_code"))
        .and_then(|of_exit_code| of_exit_code.call1((error.exit().code(), error.to_string())));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// Raises the exception for a job that has ended without success. `message` is its reason.
#[pyfunction]
pub(crate) fn raise_job_ended(py: Python<'_>, id: String, state: &str, message: String) -> PyResult<()> {
    let state = state_named(state).map_or("ended", state_name);
    Err(exception(py, &CliError::JobEnded { id, state, message }))
}

/// All exit codes of the command line tool.
#[pyfunction]
pub(crate) fn exit_codes() -> Vec<u16> {
    Exit::ALL.iter().map(|exit| exit.code().into()).collect()
}
