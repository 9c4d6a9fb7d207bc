//! What may go wrong on a GPU, and whose fault it is.

use candle_core::{Device, Error};
use cudarc::driver::{DriverError, sys};

use crate::compute::{ComputeError, PrepareError, without_places};
use lookbehind_kernels::cuda::{self, CudaError, Gpu};

/// What a piece of work on a GPU ends with.
pub(super) enum Trouble {
    /// The device's, or a library's.
    Device(Error),
    /// Perhaps the model's.
    Compute(ComputeError),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Device(error)
    }
}

impl From<ComputeError> for Trouble {
    fn from(error: ComputeError) -> Self {
        Self::Compute(error)
    }
}

impl Trouble {
    /// The error of work on a GPU that is still of use.
    fn on(self, ordinal: usize) -> ComputeError {
        match self {
            Self::Compute(ComputeError::Model { source, .. }) if is_of_device(&source) => {
                ComputeError::Device(in_words(source, ordinal))
            }
            Self::Compute(error) => error,
            Self::Device(error) => ComputeError::Device(in_words(error, ordinal)),
        }
    }
}

/// What work on a GPU ends with; what went wrong is told from a device that is lost.
pub(super) fn checked<T, E: Into<Trouble>>(result: Result<T, E>, gpu: &Gpu) -> Result<T, ComputeError> {
    result.map_err(|error| match (error.into(), gpu.check()) {
        (_, Err(failure)) => ComputeError::DeviceLost(failure.to_string()),
        (trouble, Ok(())) => {
            // Libraries take memory beside the pool: after a failure they find what nobody uses.
            gpu.trim_memory();
            trouble.on(gpu.ordinal())
        }
    })
}

/// An error outside of a GPU's own work, where nothing tells whether the GPU is still of use: out of memory may pass,
/// anything else that the driver says does not.
pub(crate) fn of_device(error: Error, ordinal: usize) -> ComputeError {
    let lost = driver_error(&error).is_some_and(|error| error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    let reason = in_words(error, ordinal);
    if lost { ComputeError::DeviceLost(reason) } else { ComputeError::Device(reason) }
}

/// A failure to make a model's tensors: the job's fault, unless it is of the device that they were to be on.
pub(in crate::compute) fn in_building(error: Error, device: &Device) -> Result<Error, PrepareError> {
    let stream = match device {
        Device::Cuda(device) if is_of_device(&error) => device.cuda_stream(),
        _ => return Ok(error),
    };
    let reason = in_words(error, stream.context().ordinal());
    Err(match stream.synchronize() {
        Ok(()) => PrepareError::Worker(reason),
        Err(_) => PrepareError::DeviceLost(reason),
    })
}

fn in_words(error: Error, ordinal: usize) -> String {
    match driver_error(&error) {
        Some(error) => format!("cuda:{ordinal}: {}", cuda::in_words(error)),
        None => format!("cuda:{ordinal}: {}", without_places(error)),
    }
}

/// Whether the driver or one of its libraries said it.
fn is_of_device(error: &Error) -> bool {
    match error {
        Error::Cuda(_) => true,
        Error::WithBacktrace { inner, .. } | Error::WithPath { inner, .. } => is_of_device(inner),
        Error::Context { inner, .. } => is_of_device(inner),
        _ => false,
    }
}

/// What the driver said, if it was the driver.
fn driver_error(error: &Error) -> Option<&DriverError> {
    match error {
        Error::Cuda(error) => match error.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(error)) => Some(error),
            _ => None,
        },
        Error::WithBacktrace { inner, .. } | Error::WithPath { inner, .. } => driver_error(inner),
        _ => None,
    }
}
