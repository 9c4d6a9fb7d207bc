//! The GPUs that a worker computes on.

use candle_core::{CudaDevice, Device};
use lookbehind_common::job::{ExchangeFormat, Precision};

use super::job::{CudaJob, Parts};
use super::trouble::of_device;
use crate::compute::evaluator::Evaluator;
use crate::compute::samples::Samples;
use crate::compute::{PrepareError, PreparedJob};
use crate::device::{DeviceChoice, DeviceError};
use lookbehind_kernels::cuda::{self, Found};

/// Environment variables that make NVIDIA's libraries compute in another precision than the one requested.
const MEDDLING: [&str; 3] =
    ["CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLAS_EMULATION_STRATEGY", "NVIDIA_TF32_OVERRIDE"];

/// Some GPUs of this machine; at least one.
pub(in crate::compute) struct Gpus(Vec<Found>);

impl Gpus {
    /// The GPUs of a choice; `None` for the CPU.
    ///
    /// # Errors
    /// If the choice cannot be met.
    pub(in crate::compute) fn chosen(choice: &DeviceChoice) -> Result<Option<Self>, DeviceError> {
        let gpus = Self::of(choice)?;
        let meddling = MEDDLING.into_iter().find(|variable| std::env::var_os(variable).is_some());
        match (&gpus, meddling) {
            (Some(_), Some(variable)) => Err(DeviceError::Environment { choice: choice.clone(), variable }),
            _ => Ok(gpus),
        }
    }

    fn of(choice: &DeviceChoice) -> Result<Option<Self>, DeviceError> {
        match choice {
            DeviceChoice::Cpu => Ok(None),
            // A GPU that does not answer must not stop the worker, but its user should know.
            DeviceChoice::Auto => Ok(Self::all(choice)
                .inspect_err(|error| tracing::warn!("computing on the CPU: {error}"))
                .ok()),
            DeviceChoice::Cuda(numbers) => {
                let all = Self::all(choice)?;
                if numbers.is_empty() { Ok(Some(all)) } else { all.only(numbers, choice).map(Some) }
            }
        }
    }

    fn all(choice: &DeviceChoice) -> Result<Self, DeviceError> {
        let no_gpu = |reason| DeviceError::NoGpu { choice: choice.clone(), reason };
        let found = cuda::found().map_err(no_gpu)?;
        if found.is_empty() { Err(no_gpu("the driver shows none".into())) } else { Ok(Self(found)) }
    }

    fn only(mut self, numbers: &[usize], choice: &DeviceChoice) -> Result<Self, DeviceError> {
        if let Some(&missing) =
            numbers.iter().find(|&&number| !self.0.iter().any(|gpu| gpu.ordinal == number))
        {
            let choice = choice.clone();
            return Err(DeviceError::NoSuchGpu { choice, missing, found: cuda::describe(&self.0) });
        }
        self.0.retain(|gpu| numbers.contains(&gpu.ordinal));
        Ok(self)
    }

    /// Their ordinals.
    pub(in crate::compute) fn ordinals(&self) -> Vec<usize> {
        self.0.iter().map(|gpu| gpu.ordinal).collect()
    }

    /// Description for people.
    pub(in crate::compute) fn describe(&self) -> String {
        cuda::describe(&self.0)
    }

    /// Description of the compute class.
    pub(in crate::compute) fn describe_class(&self, precision: Precision) -> String {
        format!("{}, precision {precision:?}", cuda::describe_class(&self.0))
    }

    /// A job on these GPUs whose gradients are added in `exchange`, each GPU with a stream of its own and a replica of the model.
    ///
    /// # Errors
    /// If the driver fails, or the job does not fit.
    pub(in crate::compute) fn job(
        &self,
        samples: Samples,
        exchange: ExchangeFormat,
        evaluator: impl Fn(&Device) -> Result<Evaluator, PrepareError>,
    ) -> Result<Box<dyn PreparedJob>, PrepareError> {
        let copy = |device: CudaDevice| Ok((device.clone(), evaluator(&Device::Cuda(device))?));
        let copies = self.open()?.into_iter().map(copy).collect::<Result<_, PrepareError>>()?;
        Ok(Box::new(CudaJob::new(Parts { samples, copies, exchange })?))
    }

    /// Opens a stream on each GPU.
    ///
    /// # Errors
    /// If the driver fails.
    fn open(&self) -> Result<Vec<CudaDevice>, PrepareError> {
        #[allow(unsafe_code, reason = "devices of which the driver's bindings record no events")]
        let open = |gpu: &Found| {
            // SAFETY: models compute on the device's own stream; everything copied to or from the device on other
            // streams goes through `Staging`, `Landing`, `Pinned` and `Results`, which order it.
            unsafe { cuda::open(gpu.ordinal) }.map_err(|error| of_device(error, gpu.ordinal).into())
        };
        self.0.iter().map(open).collect()
    }
}
