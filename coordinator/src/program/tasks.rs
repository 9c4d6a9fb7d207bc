//! What the program does besides coordinating: backups and their way back.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use lookbehind_telemetry::logs::{self, LogFormat};

use super::EXIT_CONFIG;
use crate::backup::{BackupError, back_up, restore};

/// A task that ends by itself.
#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Copy a state folder into a backup, also while a coordinator uses it.
    ///
    /// Run it as the user of the coordinator, on its machine. Training goes on meanwhile. The backup holds jobs, checkpoints
    /// and uploads, and the digest of each file. It holds no credentials.
    Backup {
        /// Folder of the state.
        #[arg(long, env = "LOOKBEHIND_STATE", value_name = "DIR")]
        state: PathBuf,
        /// Folder for the backup; empty, or created.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make a state folder from a backup, and verify every file.
    ///
    /// Start a coordinator on the folder afterwards: its jobs go on from their newest checkpoints, to the same results.
    Restore {
        /// Folder of the backup.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Folder for the state; empty, or created.
        #[arg(long, env = "LOOKBEHIND_STATE", value_name = "DIR")]
        state: PathBuf,
    },
}

/// Carries out a task and prints what it did.
pub(super) fn run(task: &Task, format: LogFormat) -> ExitCode {
    if let Err(error) = logs::init(format, "info") {
        eprintln!("{error}");
        return ExitCode::from(EXIT_CONFIG);
    }
    let (what, path, done) = match task {
        Task::Backup { state, out } => ("backup", out, back_up(state, out)),
        Task::Restore { from, state } => ("restored", state, restore(from, state)),
    };
    match done {
        Ok(contents) => {
            println!("{what}: {}, {contents}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            let unusable = matches!(error, BackupError::NotEmpty { .. } | BackupError::Newer { .. });
            ExitCode::from(if unusable { EXIT_CONFIG } else { 1 })
        }
    }
}
