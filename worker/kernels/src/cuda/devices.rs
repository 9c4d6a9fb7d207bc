//! The GPUs of this machine: their properties, and descriptions of them.

use std::panic::catch_unwind;

use cudarc::cudnn::sys::cudnnGetVersion;
use cudarc::driver::sys::CUdevice_attribute;
use cudarc::driver::{CudaContext, DriverError, result};
use lookbehind_common::BUILD_VERSION;

use super::gpu::in_words;

/// A GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index of the GPU, as the driver counts.
    pub ordinal: usize,
    /// Model, for example "NVIDIA H100 80GB HBM3".
    pub name: String,
    /// Compute capability: major and minor version.
    pub capability: (i32, i32),
    /// Number of multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of the GPU's memory.
    pub memory: u64,
}

/// The GPUs that the driver shows to this process; an empty list is not an error.
///
/// # Errors
/// The driver's error message.
pub fn found() -> Result<Vec<Found>, String> {
    // The bindings panic if the driver's library is too old to have a function.
    let found = catch_unwind(|| {
        result::init()?;
        let numbers = (0..CudaContext::device_count()?).zip(0..);
        numbers.map(|(device, ordinal)| look_at(device, ordinal)).collect::<Result<Vec<_>, DriverError>>()
    });
    found.map_err(|_| "the NVIDIA driver's library does not fit this build".to_owned())?.or_else(|error| {
        use cudarc::driver::sys::CUresult::CUDA_ERROR_NO_DEVICE;
        if error.0 == CUDA_ERROR_NO_DEVICE { Ok(Vec::new()) } else { Err(in_words(&error)) }
    })
}

#[allow(unsafe_code, reason = "the driver's attributes have no safe interface without a context")]
fn look_at(device: i32, ordinal: usize) -> Result<Found, DriverError> {
    let device = result::device::get(device)?;
    // SAFETY: the device exists.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    Ok(Found {
        ordinal,
        name: result::device::get_name(device)?,
        capability: (
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        // SAFETY: the device exists.
        memory: unsafe { result::device::total_mem(device)? } as u64,
    })
}

/// Describes GPUs, libraries and build for people.
pub fn describe(gpus: &[Found]) -> String {
    let gpu = |gpu: &Found| format!("cuda:{} {} ({} GiB)", gpu.ordinal, gpu.name, gpu.memory >> 30);
    let gpus: Vec<String> = gpus.iter().map(gpu).collect();
    format!("{}, {}", gpus.join(", "), build())
}

/// Describes what results may depend on: the models of the GPUs, not their number, and the libraries.
pub fn describe_class(gpus: &[Found]) -> String {
    let mut kinds: Vec<String> = gpus.iter().map(kind).collect();
    kinds.sort();
    kinds.dedup();
    format!("GPU {}, {}, {}", kinds.join(" and "), libraries(), build())
}

fn kind(gpu: &Found) -> String {
    let (major, minor) = gpu.capability;
    format!("{} (compute capability {major}.{minor}, {} multiprocessors)", gpu.name, gpu.multiprocessors)
}

#[allow(unsafe_code, reason = "the libraries' versions have no safe interface")]
fn libraries() -> String {
    let mut driver = 0;
    // SAFETY: the driver writes an integer; the call to cuDNN has no arguments.
    let (known, cudnn) =
        unsafe { (cudarc::driver::sys::cuDriverGetVersion(&raw mut driver).result(), cudnnGetVersion()) };
    let api = if known.is_ok() {
        format!("{}.{}", driver / 1000, driver % 1000 / 10)
    } else {
        "unknown".to_owned()
    };
    format!(
        "driver {} (CUDA {api}), cuBLAS {}, cuDNN {}.{}.{}",
        driver_release(),
        cublas_version(),
        cudnn / 10_000,
        cudnn % 10_000 / 100,
        cudnn % 100
    )
}

#[allow(unsafe_code, reason = "the library's version has no safe interface")]
fn cublas_version() -> String {
    use cudarc::cublas::sys::{cublasGetProperty, libraryPropertyType_t};
    let property = |property| {
        let mut value = 0;
        // SAFETY: the library writes an integer.
        unsafe { cublasGetProperty(property, &raw mut value) }.result().ok().map(|()| value)
    };
    let parts = [
        libraryPropertyType_t::MAJOR_VERSION,
        libraryPropertyType_t::MINOR_VERSION,
        libraryPropertyType_t::PATCH_LEVEL,
    ]
    .map(property);
    match parts {
        [Some(major), Some(minor), Some(patch)] => format!("{major}.{minor}.{patch}"),
        _ => "unknown".to_owned(),
    }
}

/// Version of the kernel's driver module, for example 580.65.06.
fn driver_release() -> String {
    let Ok(said) = std::fs::read_to_string("/proc/driver/nvidia/version") else {
        return "unknown".to_owned();
    };
    let mut words = said.split_whitespace().skip_while(|word| *word != "Module");
    let release = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    release.map_or_else(|| "unknown".to_owned(), ToOwned::to_owned)
}

fn build() -> String {
    format!("lookbehind {BUILD_VERSION} with candle and CUDA")
}
