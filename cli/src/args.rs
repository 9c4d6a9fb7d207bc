//! The definition of all commands and flags, from which parsing, help and shell completions are derived.

mod evaluate;
mod handover;
mod study;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use lookbehind_common::ids::JobId;
use lookbehind_worker::RemoteArgs;
use lookbehind_worker::device::DeviceChoice;

pub use self::evaluate::{Evaluate, Export, Predict, Subject};
pub use self::handover::{Continue, Handover, Settings, Submit};
pub use self::study::{Compare, Study};
use crate::exit::Exit;

/// Trains neural networks with Lookbehind-SAM and its relatives, on one machine or many.
#[derive(Debug, Parser)]
#[command(name = "lookbehind", version, about, after_help = Exit::table(), max_term_width = 110)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the help of the type would replace the program's own")]
    pub general: General,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "a comment here would become the program's description")]
pub struct General {
    /// Print JSON for programs: one object per line, with the field names of the protocol
    #[arg(long, global = true)]
    pub json: bool,
    /// Which logs go to standard error, for example "info" or "lookbehind_coordinator=debug,warn"; by default "warn",
    /// and "error" for train, which reports the rest as events of the job
    #[arg(long, global = true, env = "LOOKBEHIND_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a job on a whole cluster inside this process
    Train(Train),
    /// Hand a job to a coordinator
    Submit(Submit),
    /// Go on with a job that has succeeded, for more epochs or outer steps, as a new job
    Continue(Continue),
    /// List jobs: those that have not ended, then the others, newest first
    Jobs(Jobs),
    /// Show one job
    Job(OneJob),
    /// Follow a job until it ends
    Watch(OneJob),
    /// Cancel a job
    Cancel(OneJob),
    /// Pause a job after its current outer step; it can be resumed
    Pause(OneJob),
    /// Resume a paused job
    Resume(Resume),
    /// Go on with a failed or cancelled job from its newest checkpoint
    Retry(OneJob),
    /// Delete jobs that have ended, with their models and metrics
    Delete(Delete),
    /// List the workers
    Workers(Remote),
    /// List the checkpoints of a job
    Checkpoints(OneJob),
    /// Fetch a job's model and metrics
    Fetch(Fetch),
    /// Compare two runs and show where they first differ
    Audit(Audit),
    /// Show runs side by side: what differs in their jobs, and their results
    Compare(Compare),
    /// Train variants of a job with several seeds, and compare them seed by seed
    Study(Study),
    /// Evaluate trained models: loss, accuracy, robustness to noise on the weights, sharpness
    Evaluate(Box<Evaluate>),
    /// Classify new samples with a trained model
    Predict(Predict),
    /// Write a trained model with its job into one file, also as ONNX
    Export(Export),
    /// Check a job file
    Validate(Validate),
    /// Make certificates and tokens for a cluster, or renew them
    Certs(Certs),
    /// Print completions for a shell
    Completions(Completions),
}

impl Cli {
    /// Which logs go to standard error.
    pub fn log(&self) -> &str {
        let usual =
            if matches!(self.command, Command::Train(_) | Command::Study(_)) { "error" } else { "warn" };
        self.general.log.as_deref().unwrap_or(usual)
    }
}

/// Where the coordinator is.
#[derive(Clone, Debug, Args)]
pub struct Remote {
    /// Where the coordinator listens
    #[arg(
        long = "coordinator",
        env = "LOOKBEHIND_COORDINATOR",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL",
        value_hint = ValueHint::Url
    )]
    pub url: String,
    /// Folder with ca.pem and either cert.pem and key.pem or a token, for a coordinator at https://
    #[arg(long, env = "LOOKBEHIND_CREDENTIALS", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub credentials: Option<PathBuf>,
}

/// Where files go.
#[derive(Clone, Debug, Args)]
pub struct Out {
    /// Leave model.safetensors, metrics.jsonl, summary.json, job.toml and TensorBoard's file in this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Write into a folder that holds other files, too; of those, only files of the same names are replaced
    #[arg(long, requires = "out")]
    pub force: bool,
}

/// `train`.
#[derive(Debug, Args)]
pub struct Train {
    /// The job file; without one, a small classifier of handwritten digits is trained
    #[arg(value_hint = ValueHint::FilePath)]
    pub job: Option<PathBuf>,
    /// How many workers to run in this process; the result does not depend on it
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Keys to change
    #[command(flatten)]
    pub settings: Settings,
    /// Devices of the workers: auto (all GPUs, or the CPU if there is none), cpu, cuda, or GPUs as in cuda:0,1
    #[arg(long, env = "LOOKBEHIND_DEVICE", value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Folder of the data files that the job names; by default the job file's folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Where model and metrics go
    #[command(flatten)]
    pub out: Out,
    /// Keep the coordinator's state in this folder; the same job continues where an earlier run stopped or failed
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Where data files may come from in addition to this folder
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `jobs`.
#[derive(Debug, Args)]
pub struct Jobs {
    /// Only jobs in this state; may be given several times
    #[arg(long = "state", value_name = "STATE", value_parser = PossibleValuesParser::new(STATES))]
    pub states: Vec<String>,
    /// Only jobs of this owner
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// Only jobs with this text in their names, upper and lower case alike
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Only jobs with this label, or with any label of this key; may be given several times
    #[arg(long = "label", value_name = "KEY[=VALUE]", value_parser = label_filter)]
    pub labels: Vec<(String, String)>,
    /// Show at most this number of jobs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Show all jobs
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}

/// The commands that take one job.
#[derive(Debug, Args)]
pub struct OneJob {
    /// The job's identity, as `submit` and `jobs` show it
    #[arg(value_parser = job_id)]
    pub id: String,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The job
    #[command(flatten)]
    pub job: OneJob,
    /// Continue in another compute class than the one that the job is bound to; the result is then that of the new class
    #[arg(long)]
    pub accept_class: bool,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The jobs' identities, as `submit` and `jobs` show them
    #[arg(value_name = "ID", required = true, value_parser = job_id)]
    pub ids: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}

/// `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// The identity of a job, or a folder that --out has filled
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub first: String,
    /// The run to compare it with
    #[arg(value_name = "OTHER", value_hint = ValueHint::DirPath)]
    pub second: String,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}

/// `fetch`.
#[derive(Debug, Args)]
pub struct Fetch {
    /// The job's identity, as `submit` and `jobs` show it
    #[arg(value_parser = job_id)]
    pub id: String,
    /// Fetch the checkpoint after this number of outer steps; the default is the newest one
    #[arg(long, value_name = "T")]
    pub step: Option<u64>,
    /// Fetch the checkpoint that checkpoint.keep_best keeps
    #[arg(long, conflicts_with = "step")]
    pub best: bool,
    /// Leave model.safetensors, metrics.jsonl, summary.json, job.toml and TensorBoard's file in this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Write into a folder that holds other files, too; of those, only files of the same names are replaced
    #[arg(long)]
    pub force: bool,
    /// Where the coordinator is
    #[command(flatten)]
    pub remote: Remote,
}

/// `validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// The job file
    #[arg(value_hint = ValueHint::FilePath)]
    pub job: PathBuf,
    /// Also load model and data, as a worker with this data folder would
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Write the initial weights, as the job starts with them, to this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub save_init: Option<PathBuf>,
    /// Where data files may come from in addition to this folder
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `certs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes a certificate authority in DIR/ca if there is none, and one folder with what --credentials \
                  takes for the coordinator and for each name. What is there stays, unless it expires soon; names that \
                  were given once are renewed, too."
)]
pub struct Certs {
    /// Where the authority and the folders are
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// A further name or address of the coordinator; localhost and coordinator are always included
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// An administrator, with full access to all jobs
    #[arg(long = "admin", value_name = "NAME")]
    pub admins: Vec<String>,
    /// A user, with full access to their own jobs
    #[arg(long = "user", value_name = "NAME")]
    pub users: Vec<String>,
    /// Workers; several may share a name and its credentials
    #[arg(long = "worker", value_name = "NAME")]
    pub workers: Vec<String>,
    /// Days for which certificates are valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// The states of jobs.
const STATES: [&str; 7] = ["queued", "preparing", "running", "paused", "succeeded", "failed", "cancelled"];

/// Splits a label. The coordinator checks its characters.
fn label(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Splits a label that jobs are to have; without a value, any value will do.
fn label_filter(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        "" => Err("expected KEY=VALUE or KEY"),
        _ => Ok((key.to_owned(), value.to_owned())),
    }
}

/// Refuses malformed identifiers here, so that a typing error is not reported as an unknown job.
///
/// # Errors
/// Says how an identifier looks.
pub fn job_id(text: &str) -> Result<String, &'static str> {
    let id = JobId::parse(text).ok_or("expected 'j' and eight lower-case letters or digits")?;
    Ok(id.as_str().to_owned())
}

#[cfg(test)]
mod tests;
