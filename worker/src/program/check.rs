//! `check`: compares every kernel of the device with its definition in float64.

use clap::Args;

#[cfg(feature = "cuda")]
use crate::compute::ComputeError;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing was checked, or what failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    /// There is no GPU to check. The project's tests check the kernels of the CPU.
    #[error(
        "device {0}: only GPUs are checked; choose one by --device cuda, with a worker that is built for them"
    )]
    NoGpu(String),
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Device(ComputeError),
    #[cfg(feature = "cuda")]
    #[error("{0} comparisons are beyond their limits")]
    Disagree(usize),
}

impl CheckError {
    /// Whether another process may succeed.
    pub(super) fn is_of_lost_device(&self) -> bool {
        match self {
            #[cfg(feature = "cuda")]
            Self::Device(error) => matches!(error, ComputeError::DeviceLost(_)),
            _ => false,
        }
    }
}

#[cfg(not(feature = "cuda"))]
impl Check {
    /// Reports that there is nothing to check, in a build without CUDA.
    pub(super) fn run(&self, device: &str, _gpus: &[usize]) -> Result<(), CheckError> {
        Err(CheckError::NoGpu(device.to_owned()))
    }
}

#[cfg(feature = "cuda")]
impl Check {
    /// Checks GPUs and prints the results.
    pub(super) fn run(&self, device: &str, gpus: &[usize]) -> Result<(), CheckError> {
        if gpus.is_empty() {
            return Err(CheckError::NoGpu(device.to_owned()));
        }
        let mut checks = Vec::new();
        for &ordinal in gpus {
            let checked = crate::check::run(ordinal);
            checks.extend(
                checked.map_err(|error| CheckError::Device(crate::compute::of_device(error, ordinal)))?,
            );
        }
        if self.json {
            println!("{}", serde_json::json!({ "device": device, "checks": checks }));
        } else {
            print(device, &checks);
        }
        match checks.iter().filter(|check| !check.passed).count() {
            0 => Ok(()),
            wrong => Err(CheckError::Disagree(wrong)),
        }
    }
}

#[cfg(feature = "cuda")]
fn print(device: &str, checks: &[crate::check::Check]) {
    println!("{device}");
    for crate::check::Check { name, error, limit, passed } in checks {
        let verdict = if *passed { "ok" } else { "WRONG" };
        println!("{verdict:<6}{error:>10.2e} of {limit:.2e}  {name}");
    }
    let passed = checks.iter().filter(|check| check.passed).count();
    println!("{passed} of {} within their limits", checks.len());
}
