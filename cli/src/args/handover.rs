//! Flags of the commands that make a new job.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use lookbehind_common::job::Setting;

use super::{Out, Remote, job_id, label};
use crate::error::CliError;

/// `submit`.
#[derive(Debug, Args)]
pub struct Submit {
    /// The job file
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "from", conflicts_with = "from")]
    pub job: Option<PathBuf>,
    /// Take the specification of this job instead of a job file
    #[arg(long, value_name = "ID", value_parser = job_id)]
    pub from: Option<String>,
    /// Keys to change
    #[command(flatten)]
    pub settings: Settings,
    /// What happens to the job
    #[command(flatten)]
    pub handover: Handover,
}

/// Changes of a job file.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Change a key of the job, as in train.epochs=40; without a value, its default holds. Can be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Setting>,
}

/// Where a new job goes, and whether it is followed.
#[derive(Debug, Args)]
pub struct Handover {
    /// Follow the job until it ends
    #[arg(long)]
    pub watch: bool,
    /// Give the job a label by which `jobs` finds it, in place of one of the job file with the same key
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Where model and metrics go, with --watch
    #[command(flatten)]
    pub out: Out,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}

impl Handover {
    /// Refuses an output folder that nothing would fill.
    ///
    /// # Errors
    /// If there is one and the job is not followed.
    pub fn check(&self) -> Result<(), CliError> {
        match self.out.out.is_some() && !self.watch {
            true => Err(CliError::Usage(
                "--out: needs --watch; without it, `lookbehind fetch` gets the results later".to_owned(),
            )),
            false => Ok(()),
        }
    }
}

/// `continue`.
#[derive(Debug, Args)]
pub struct Continue {
    /// The job's identity, as `submit` and `jobs` show it
    #[arg(value_parser = job_id)]
    pub id: String,
    /// Length in epochs, counted from the beginning of the first job
    #[arg(long, value_name = "N", required_unless_present = "steps", conflicts_with = "steps")]
    pub epochs: Option<u64>,
    /// Length in outer steps, counted from the beginning of the first job
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Further keys to change
    #[command(flatten)]
    pub settings: Settings,
    /// What happens to the new job
    #[command(flatten)]
    pub handover: Handover,
}
