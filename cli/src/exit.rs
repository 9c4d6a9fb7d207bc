//! Exit codes, which tell scripts how the program ended.

use std::process::ExitCode;

/// How the program ended. The discriminants are the codes, which `--help` documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command succeeded.
    Success = 0,
    /// The job failed or was cancelled.
    JobFailed = 1,
    /// Invalid arguments, or a job file that is missing, unreadable or invalid.
    Usage = 2,
    /// No coordinator answers.
    Unreachable = 3,
    /// The job or checkpoint is unknown, or the coordinator refuses the call.
    Refused = 4,
    /// An output could not be written, would overwrite other files, or is corrupt.
    Output = 5,
    /// This machine failed: the cluster of `train` did not start, or failed.
    Local = 6,
    /// The runs that were compared differ.
    Differ = 7,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
    /// The reader of standard output is gone.
    BrokenPipe = 141,
}

impl Exit {
    /// All codes in the order in which they are documented.
    pub const ALL: [Exit; 10] = [
        Exit::Success,
        Exit::JobFailed,
        Exit::Usage,
        Exit::Unreachable,
        Exit::Refused,
        Exit::Output,
        Exit::Local,
        Exit::Differ,
        Exit::Interrupted,
        Exit::BrokenPipe,
    ];

    /// The code for the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }

    fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "done; with a job to wait for: it succeeded",
            Exit::JobFailed => "the job failed or was cancelled",
            Exit::Usage => "invalid arguments, or a job file that is missing or invalid",
            Exit::Unreachable => "no coordinator answers",
            Exit::Refused => "the coordinator does not know the job, or refuses what was asked",
            Exit::Output => "an output cannot be written, would overwrite other files, or arrived damaged",
            Exit::Local => {
                "this machine cannot do its part: the cluster inside `train` did not start, or failed"
            }
            Exit::Differ => "the runs that `audit` compared differ",
            Exit::Interrupted => "stopped by Ctrl-C or SIGTERM",
            Exit::BrokenPipe => "the reader of standard output has closed it",
        }
    }

    /// The table at the end of `--help`.
    pub fn table() -> String {
        let line = |exit: &Exit| format!("  {:>3}  {}\n", exit.code(), exit.meaning());
        std::iter::once("Exit codes:\n".to_owned()).chain(Exit::ALL.iter().map(line)).collect()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests;
