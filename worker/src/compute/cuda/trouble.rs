//! What may go wrong on a GPU, and who is at fault.

use candle_core::{Device, Error};
use cudarc::driver::{DriverError, sys};

use crate::compute::{ComputeError, PrepareError};
use crate::places::without_places;
use lookbehind_kernels::cuda::{self, CudaError, Gpu};

/// An error of an operation on a GPU, before it is known who is at fault.
pub(super) enum Trouble {
    /// An error of the device or of one of its libraries.
    Device(Error),
    /// An error that may be the model's.
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
    /// The error, on a GPU that still works.
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

/// The result of an operation on a GPU; an error is distinguished from the loss of the device.
pub(super) fn checked<T, E: Into<Trouble>>(result: Result<T, E>, gpu: &Gpu) -> Result<T, ComputeError> {
    result.map_err(|error| match (error.into(), gpu.check()) {
        (_, Err(failure)) => ComputeError::DeviceLost(failure.to_string()),
        (trouble, Ok(())) => {
            // Libraries allocate outside the pool: give back unused memory, so that they find some after a failure.
            gpu.trim_memory();
            trouble.on(gpu.ordinal())
        }
    })
}

/// An error outside of an operation on a GPU, where nothing tells whether the GPU still works: out of memory may pass,
/// any other error of the driver does not.
pub(crate) fn of_device(error: Error, ordinal: usize) -> ComputeError {
    let lost = driver_error(&error).is_some_and(|error| error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    let reason = in_words(error, ordinal);
    if lost { ComputeError::DeviceLost(reason) } else { ComputeError::Device(reason) }
}

/// A failure to create a model's tensors: the job's fault, unless the device on which they were to be failed.
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

/// Whether the error is from the driver or one of its libraries.
fn is_of_device(error: &Error) -> bool {
    match error {
        Error::Cuda(_) => true,
        Error::WithBacktrace { inner, .. } | Error::WithPath { inner, .. } => is_of_device(inner),
        Error::Context { inner, .. } => is_of_device(inner),
        _ => false,
    }
}

/// The error of the driver, if it is one.
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
