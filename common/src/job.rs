//! A job's specification: what its user writes ([`file::JobFile`]), what it means ([`JobSpec`]), and how it
//! travels ([`wire`]).

mod description;
pub mod file;
mod parameters;
mod spec;
mod validate;
pub mod wire;

pub use description::{DescriptionError, JobDescription};
pub use file::{ComputeClassesName, JobFile, PrecisionName, parse_parameters, parse_toml};
pub use spec::*;
pub use validate::JobError;

#[cfg(test)]
#[path = "job/job_test.rs"]
mod tests;
