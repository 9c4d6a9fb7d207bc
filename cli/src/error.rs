//! All errors that can end a command early, and their exit codes.

use std::io;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobError;
use lookbehind_identity::{AccessError, IdentityError, Mismatch};
use lookbehind_proto::transfer::TransferError;
use lookbehind_worker::compute::PrepareError;
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
        /// The error of the operating system.
        source: io::Error,
    },
    /// A job file is invalid.
    #[error("{label}: {source}")]
    Job {
        /// Name of the job file in messages.
        label: String,
        /// The key, what was expected and what was found.
        source: JobError,
    },
    /// An argument is invalid in combination with others.
    #[error("{0}")]
    Usage(String),
    /// The chosen device is not available.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No coordinator answers.
    #[error(
        "cannot reach a coordinator at {url}: {reason}; start one with lookbehind-coordinator or use `lookbehind train`"
    )]
    Unreachable {
        /// URL of the coordinator.
        url: String,
        /// The error of the network.
        reason: String,
    },
    /// Something else than a coordinator answers.
    #[error("no coordinator answers at {url}: {mismatch}")]
    NoCoordinator {
        /// URL of the coordinator.
        url: String,
        /// What is spoken there.
        mismatch: Mismatch,
    },
    /// The address of a coordinator or the credentials for it are invalid.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Credentials cannot be read or created.
    #[error(transparent)]
    Credentials(#[from] IdentityError),
    /// `certs` left folders as they are whose content contradicts the authority's record.
    #[error(
        "folders that should have been renewed and were not: {folders}, see above; everything else is done"
    )]
    NotRenewed {
        /// How many.
        folders: usize,
    },
    /// One side does not trust the other's certificate.
    #[error("no encrypted connection to the coordinator at {url}: {reason}")]
    NotTrusted {
        /// URL of the coordinator.
        url: String,
        /// Which side does not trust the other, and why.
        reason: String,
    },
    /// The connection was lost and could not be restored in time.
    #[error("lost the coordinator at {url} for {} minutes: {reason}; continue with `lookbehind watch {job}`", seconds / 60)]
    Lost {
        /// URL of the coordinator.
        url: String,
        /// The job that was being watched.
        job: String,
        /// Duration of the attempts to reconnect.
        seconds: u64,
        /// The error of the network.
        reason: String,
    },
    /// The coordinator answered that it cannot serve a call now.
    #[error("{what}: {}", printable(message))]
    NotNow {
        /// The call.
        what: String,
        /// The message of the coordinator.
        message: String,
    },
    /// The coordinator answered a call with an error.
    #[error("{what}: {}", printable(message))]
    Refused {
        /// The call.
        what: String,
        /// The message of the coordinator.
        message: String,
    },
    /// The coordinator sent a message that violates the protocol.
    #[error("{what}: the coordinator's answer lacks {missing}")]
    Malformed {
        /// The call.
        what: String,
        /// What the message lacks.
        missing: &'static str,
    },
    /// A file or folder cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Writing would destroy files that are not an earlier output of the same job.
    #[error("{}: {reason}; choose another folder or give --force", path.display())]
    Occupied {
        /// The output folder.
        path: PathBuf,
        /// What was found there.
        reason: String,
    },
    /// Writing would replace the file with the job's initial weights.
    #[error("{}: is the job's model.init and would be replaced; choose another --out", path.display())]
    ReplacesInput {
        /// The file.
        path: PathBuf,
    },
    /// A transfer is corrupt.
    #[error("{what}: {source}")]
    Transfer {
        /// What was transferred.
        what: String,
        /// What is wrong with it.
        source: TransferError,
    },
    /// A model file does not match the coordinator's description.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The difference.
        problem: String,
    },
    /// The downloaded weights are not the announced ones.
    #[error("{}: the weights' digest is {found}, the coordinator announced {expected}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Digest of the weights in the file.
        found: Digest,
        /// Digest that the coordinator announced.
        expected: String,
    },
    /// The job ended without success.
    #[error("job {id} {state}{}", detail(message))]
    JobEnded {
        /// Identity of the job.
        id: String,
        /// Its final state.
        state: &'static str,
        /// The reason; empty if there is none.
        message: String,
    },
    /// Two runs differ.
    #[error("the runs differ from outer step {outer_step} on: {what}")]
    Differ {
        /// The first outer step that differs.
        outer_step: u64,
        /// What differs.
        what: String,
    },
    /// The operating system refuses something that the program needs.
    #[error("{what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A model cannot be computed on the data of its job.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The cluster of `train` could not start.
    #[error("the cluster could not start: {reason}")]
    ClusterStart {
        /// The reason.
        reason: String,
    },
    /// The last worker of the cluster of `train` has ended.
    #[error("worker {name:?} stopped: {reason}")]
    WorkerStopped {
        /// Name of the worker.
        name: String,
        /// Why it ended.
        reason: String,
    },
    /// The user interrupted the command.
    #[error("{0}")]
    Interrupted(String),
    /// The reader of standard output is gone. The error is not reported.
    #[error("standard output is closed")]
    StdoutClosed,
    /// Standard output cannot be written for another reason.
    #[error("standard output cannot be written: {0}")]
    Stdout(io::Error),
}

/// Formats a job's message to follow its state.
fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", printable(message)) }
}

impl CliError {
    /// The error for a file or folder that cannot be written.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    /// The error for a file that cannot be read.
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
            | Self::Prepare(PrepareError::Job(_))
            | Self::Access(_)
            | Self::Credentials(_) => Exit::Usage,
            Self::Unreachable { .. } | Self::NoCoordinator { .. } | Self::Lost { .. } => Exit::Unreachable,
            Self::Refused { .. } | Self::NotNow { .. } | Self::Malformed { .. } | Self::NotTrusted { .. } => {
                Exit::Refused
            }
            Self::Write { .. }
            | Self::Occupied { .. }
            | Self::ReplacesInput { .. }
            | Self::Transfer { .. }
            | Self::Model { .. }
            | Self::Digest { .. }
            | Self::NotRenewed { .. }
            | Self::Stdout(_) => Exit::Output,
            Self::Differ { .. } => Exit::Differ,
            Self::System { .. }
            | Self::ClusterStart { .. }
            | Self::WorkerStopped { .. }
            | Self::Prepare(_)
            | Self::Device(_) => Exit::Local,
            Self::Interrupted(_) => Exit::Interrupted,
            Self::StdoutClosed => Exit::BrokenPipe,
        }
    }
}

#[cfg(test)]
mod tests;
