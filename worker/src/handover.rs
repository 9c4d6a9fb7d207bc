//! From the program that runs everywhere to the one that was built with CUDA, which the system does not start where NVIDIA's
//! libraries are missing: where it lies beside this one, under the same name with `-cuda` behind, and a GPU is wanted, it
//! takes this process over.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::device::{DeviceChoice, DeviceError};

/// Hands the process over, if the choice asks for GPUs; returns where it stays with this program.
///
/// # Errors
/// When the program for GPUs is there but cannot be started, and nothing else will do.
pub(crate) fn to_cuda(choice: &DeviceChoice) -> Result<(), DeviceError> {
    let Some(program) = beside().filter(|_| *choice != DeviceChoice::Cpu) else { return Ok(()) };
    let reason = match Command::new(&program).arg("--version").output() {
        Ok(tried) if tried.status.success() => {
            let mut command = Command::new(&program);
            command.args(std::env::args_os().skip(1)).exec().to_string()
        }
        Ok(tried) => in_words(&tried),
        Err(error) => error.to_string(),
    };
    let reason = format!("{}: {reason}", program.display());
    match choice {
        DeviceChoice::Cuda(_) => Err(DeviceError::NoGpu { choice: choice.clone(), reason }),
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            tracing::info!("computing on the CPU: {reason}");
            Ok(())
        }
    }
}

/// The program for GPUs, if there is one.
fn beside() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let mut name = this.file_name()?.to_owned();
    name.push("-cuda");
    Some(this.with_file_name(name)).filter(|program| program.is_file())
}

/// What the system said, in one line: which library is missing.
fn in_words(tried: &Output) -> String {
    let said = String::from_utf8_lossy(&tried.stderr);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.map_or_else(|| tried.status.to_string(), ToOwned::to_owned);
    line.rsplit_once("error while loading shared libraries: ")
        .map_or(line.clone(), |(_, missing)| missing.to_owned())
}
