//! `study` and `compare`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use lookbehind_worker::RemoteArgs;
use lookbehind_worker::device::DeviceChoice;

use super::Remote;

/// `study`.
#[derive(Debug, Args)]
pub struct Study {
    /// The study file
    #[arg(value_name = "STUDY", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Where finished runs, table and pictures go; the same command goes on with what is there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    /// Only say what would be trained
    #[arg(long)]
    pub dry_run: bool,
    /// How many workers to run in this process; no result depends on it
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Runs at a time; by default as many as the workers of this process suffice for, and 4 on a cluster
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: Option<u16>,
    /// Most workers of each run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub workers_per_job: u32,
    /// Train on the cluster of a coordinator instead of in this process
    #[arg(long)]
    pub cluster: bool,
    /// Devices of the workers, as for train
    #[arg(long, env = "LOOKBEHIND_DEVICE", value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Folder of the data files that the jobs name; by default that of the base job
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Where data files may come from in addition to this folder
    #[command(flatten)]
    pub files: RemoteArgs,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}

/// `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// Identities of jobs, or folders that --out has filled
    #[arg(value_name = "RUN", required = true, num_args = 2.., value_hint = ValueHint::DirPath)]
    pub runs: Vec<String>,
    /// Draw test accuracy over gradients into this file, as SVG
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub picture: Option<PathBuf>,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}
