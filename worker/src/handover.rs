//! Replaces the portable program by the one that was built with CUDA. They are two programs because the system does not
//! start the latter where NVIDIA's libraries are missing. If it is in the same folder, under the same name with the
//! suffix `-cuda`, and a GPU is wanted, it takes over this process.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::device::{DeviceChoice, DeviceError};

/// Hands the process over, if the choice asks for GPUs; returns if this program is to continue.
///
/// # Errors
/// If the program for GPUs exists but cannot be started, and the choice permits nothing else.
pub(crate) fn to_cuda(choice: &DeviceChoice) -> Result<(), DeviceError> {
    let Some(program) = cuda_program().filter(|_| *choice != DeviceChoice::Cpu) else { return Ok(()) };
    // Tried in a child process first: after `exec` there would be no way back to this program.
    let reason = match Command::new(&program).arg("--version").output() {
        Ok(tried) if tried.status.success() => {
            let mut command = Command::new(&program);
            command.args(std::env::args_os().skip(1)).exec().to_string()
        }
        Ok(tried) => system_message(&tried),
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

/// Path of the program for GPUs, if it exists.
fn cuda_program() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let mut name = this.file_name()?.to_owned();
    name.push("-cuda");
    Some(this.with_file_name(name)).filter(|program| program.is_file())
}

/// The system's error message in one line: it names the missing library.
fn system_message(tried: &Output) -> String {
    let output = String::from_utf8_lossy(&tried.stderr);
    let line = output.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.map_or_else(|| tried.status.to_string(), ToOwned::to_owned);
    line.rsplit_once("error while loading shared libraries: ")
        .map_or(line.clone(), |(_, missing)| missing.to_owned())
}
