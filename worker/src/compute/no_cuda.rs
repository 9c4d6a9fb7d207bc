//! Replaces `cuda` in a build without it: there are no GPUs.

use candle_core::{Device, Error};
use lookbehind_common::job::{ExchangeFormat, Precision};

use super::evaluator::Evaluator;
use super::samples::Samples;
use super::{PrepareError, PreparedJob};
use crate::device::{DeviceChoice, DeviceError};

/// Some GPUs of this machine. The type has no values.
pub(super) enum Gpus {}

impl Gpus {
    /// `None`; an error if the choice requires GPUs.
    pub(super) fn chosen(choice: &DeviceChoice) -> Result<Option<Self>, DeviceError> {
        match choice {
            DeviceChoice::Cuda(_) => Err(DeviceError::NotBuilt { choice: choice.clone() }),
            DeviceChoice::Auto | DeviceChoice::Cpu => Ok(None),
        }
    }

    pub(super) fn ordinals(&self) -> Vec<usize> {
        match *self {}
    }

    pub(super) fn describe(&self) -> String {
        match *self {}
    }

    pub(super) fn describe_class(&self, _precision: Precision) -> String {
        match *self {}
    }

    pub(super) fn job(
        &self,
        _samples: Samples,
        _exchange: ExchangeFormat,
        _evaluator: impl Fn(&Device) -> Result<Evaluator, PrepareError>,
    ) -> Result<Box<dyn PreparedJob>, PrepareError> {
        match *self {}
    }
}

/// A failure to create a model's tensors is the job's fault.
pub(super) fn in_building(error: Error, _device: &Device) -> Result<Error, PrepareError> {
    Ok(error)
}
