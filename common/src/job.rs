//! The specification of a job: as its user writes it ([`file::JobFile`]) and checked ([`JobSpec`]).

mod description;
pub mod file;
mod groups;
mod method;
mod parameters;
mod spec;
mod suggest;
mod validate;

pub use description::{JobDescription, MAX_CLASS_NAMES, MAX_DATA_REPORT};
pub use file::{
    EarlyStoppingSection, ImportedFile, Init, InitialJob, JobFile, Library, MissingStatistics,
    NamedCheckpoint, Naming, Positions, Setting, WhichCheckpoint, apply_settings, parse_parameters,
    parse_toml,
};
pub use groups::{Group, GroupError, Groups, TensorRule};
pub use method::*;
pub use parameters::normalise_parameters;
pub use spec::*;
pub use suggest::did_you_mean;
pub use validate::JobError;

#[cfg(test)]
mod tests;
