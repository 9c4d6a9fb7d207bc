//! Everything that can end a command early, with the exit code that it leads to.

use std::io;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobError;
use lookbehind_identity::{AccessError, IdentityError};
use lookbehind_proto::transfer::TransferError;
use lookbehind_worker::device::DeviceError;

use crate::exit::Exit;
use crate::text::printable;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file that the user named cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A job file holds something impossible.
    #[error("{label}: {source}")]
    Job {
        /// The job file.
        label: String,
        /// Which key, what was expected and what was found.
        source: JobError,
    },
    /// An argument that only the whole command line shows to be impossible.
    #[error("{0}")]
    Usage(String),
    /// There is nothing to compute on as chosen.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No coordinator answers.
    #[error(
        "cannot reach a coordinator at {url}: {reason}; start one with lookbehind-coordinator or use `lookbehind train`"
    )]
    Unreachable {
        /// Where one was expected.
        url: String,
        /// What the network says.
        reason: String,
    },
    /// Credentials or the address of a coordinator make no sense.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Credentials cannot be read or made.
    #[error(transparent)]
    Credentials(#[from] IdentityError),
    /// One side does not believe the other's certificate.
    #[error("no encrypted connection to the coordinator at {url}: {reason}")]
    NotTrusted {
        /// Where the coordinator is.
        url: String,
        /// Who does not believe whom, and why.
        reason: String,
    },
    /// The connection was lost and did not come back in time.
    #[error("lost the coordinator at {url} for {} minutes: {reason}; go on with `lookbehind watch {job}`", seconds / 60)]
    Lost {
        /// Where it was.
        url: String,
        /// The job that was watched.
        job: String,
        /// How long it was tried.
        seconds: u64,
        /// What the network says.
        reason: String,
    },
    /// The coordinator's answer to a call is an error.
    #[error("{what}: {}", printable(message))]
    Refused {
        /// What was asked for.
        what: String,
        /// What the coordinator says.
        message: String,
    },
    /// The coordinator sent something that the protocol does not allow.
    #[error("{what}: the coordinator's answer lacks {missing}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// What should have been there.
        missing: &'static str,
    },
    /// A file or folder cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Writing would harm files that are something else than an earlier output of the same job.
    #[error("{}: {reason}; choose another folder or give --force", path.display())]
    Occupied {
        /// The output folder.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// Writing would replace the file that the job's initial weights are read from.
    #[error("{}: is the job's model.init and would be replaced; choose another --out", path.display())]
    ReplacesInput {
        /// The file.
        path: PathBuf,
    },
    /// A transfer arrived damaged.
    #[error("{what}: {source}")]
    Transfer {
        /// What was transferred.
        what: String,
        /// What is wrong with it.
        source: TransferError,
    },
    /// A model file is not what the coordinator said it would be.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The weights that arrived are not the weights that were announced.
    #[error("{}: the weights' digest is {found}, the coordinator announced {expected}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// What the file's weights have.
        found: Digest,
        /// What the coordinator announced.
        expected: String,
    },
    /// The job ended otherwise than by success.
    #[error("job {id} {state}{}", detail(message))]
    JobEnded {
        /// The job.
        id: String,
        /// How it ended.
        state: &'static str,
        /// Why.
        message: String,
    },
    /// Two runs are not the same.
    #[error("the runs differ from outer step {outer_step} on: {what}")]
    Differ {
        /// The first outer step in which they do.
        outer_step: u64,
        /// In what.
        what: String,
    },
    /// The operating system refuses what the program cannot do without.
    #[error("{what}: {source}")]
    System {
        /// What it was needed for.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The cluster inside `train` could not start.
    #[error("the cluster could not start: {reason}")]
    ClusterStart {
        /// Why.
        reason: String,
    },
    /// The last worker of the cluster inside `train` is gone.
    #[error("worker {name:?} stopped: {reason}")]
    WorkerStopped {
        /// The worker.
        name: String,
        /// Why.
        reason: String,
    },
    /// The user stopped it.
    #[error("{0}")]
    Interrupted(String),
    /// Nobody reads standard output any more; there is nobody to tell.
    #[error("standard output is closed")]
    StdoutClosed,
    /// Standard output cannot be written for another reason.
    #[error("standard output cannot be written: {0}")]
    Stdout(io::Error),
}

/// A job's message from the coordinator behind its state.
fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", printable(message)) }
}

impl CliError {
    /// A file or folder that cannot be written.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    /// A file that cannot be read.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// The exit code of a program that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::JobEnded { .. } => Exit::JobFailed,
            Self::Read { .. }
            | Self::Job { .. }
            | Self::Usage(_)
            | Self::Access(_)
            | Self::Credentials(_) => Exit::Usage,
            Self::Unreachable { .. } | Self::Lost { .. } => Exit::Unreachable,
            Self::Refused { .. } | Self::Malformed { .. } | Self::NotTrusted { .. } => Exit::Refused,
            Self::Write { .. }
            | Self::Occupied { .. }
            | Self::ReplacesInput { .. }
            | Self::Transfer { .. }
            | Self::Model { .. }
            | Self::Digest { .. }
            | Self::Stdout(_) => Exit::Output,
            Self::Differ { .. } => Exit::Differ,
            Self::System { .. }
            | Self::ClusterStart { .. }
            | Self::WorkerStopped { .. }
            | Self::Device(_) => Exit::Local,
            Self::Interrupted(_) => Exit::Interrupted,
            Self::StdoutClosed => Exit::BrokenPipe,
        }
    }
}

#[cfg(test)]
mod tests;
