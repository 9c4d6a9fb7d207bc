//! Model files of a job on their way from and to other programs.

use std::collections::BTreeMap;

use candle_core::Device;
use lookbehind_common::job::{ImportedFile, JobSpec};
use lookbehind_common::model_file;

use super::{CandleBackend, caught};
use crate::compute::PrepareError;
use crate::data::{Cancellation, DataDescription};
use crate::import::{Wanted, import};
use crate::models::Model;
use crate::onnx::Graph;
use crate::parameters::ModelTensors;

impl CandleBackend {
    /// The model file that a job starts with: another program's file, as the job says how its tensors become the model's.
    /// The samples are those that the job describes or, where it does not, those of its data, which are loaded then.
    ///
    /// # Errors
    /// If the job is wrong, the data are needed and cannot be loaded, or the file does not give the model's tensors.
    pub fn import(&self, spec: &JobSpec, bytes: &[u8], from: &ImportedFile) -> Result<Vec<u8>, PrepareError> {
        self.registry.check_kinds(&spec.model, &spec.data)?;
        caught(spec, || {
            let (_, tensors) = self.model(spec, &self.described(spec)?, &Device::Cpu)?;
            let initial = tensors.initial(spec.seed);
            let model = Wanted { kind: &spec.model.kind, layout: tensors.layout(), initial: &initial };
            import(bytes, from, model).map_err(|error| of_job(&error))
        })
    }

    /// A trained model of a job in the format of ONNX, with the given metadata. The samples are known as for
    /// [`Self::import`].
    ///
    /// # Errors
    /// If the job is wrong, the data are needed and cannot be loaded, the file is not one of the job's model, or the model
    /// has no such form.
    pub fn onnx(
        &self,
        spec: &JobSpec,
        model_file: &[u8],
        metadata: &BTreeMap<&str, String>,
    ) -> Result<Vec<u8>, PrepareError> {
        self.registry.check_kinds(&spec.model, &spec.data)?;
        caught(spec, || {
            let (data, model, tensors) = self.loaded_model(spec, model_file)?;
            let mut graph = Graph::new(&tensors, &data.input_shape);
            let kind = &spec.model.kind;
            let logits = model.onnx(&mut graph).map_err(|error| of_job(&error))?;
            let logits =
                logits.ok_or_else(|| of_job(&format!("model kind {kind:?}: has no form in ONNX")))?;
            Ok(graph.into_bytes(data.classes, &logits, metadata))
        })
    }

    /// Checks that a file is one of a job's model. The samples are known as for [`Self::import`].
    ///
    /// # Errors
    /// If it is not, the job is wrong, or the data are needed and cannot be loaded.
    pub fn check_model(&self, spec: &JobSpec, model_file: &[u8]) -> Result<(), PrepareError> {
        self.registry.check_kinds(&spec.model, &spec.data)?;
        caught(spec, || self.loaded_model(spec, model_file).map(drop))
    }

    /// A job's model on the CPU with the weights of a file, and its samples.
    fn loaded_model(
        &self,
        spec: &JobSpec,
        model_file: &[u8],
    ) -> Result<(DataDescription, Box<dyn Model>, ModelTensors), PrepareError> {
        let data = self.described(spec)?;
        let (model, tensors) = self.model(spec, &data, &Device::Cpu)?;
        let weights = model_file::read(model_file, tensors.layout()).map_err(|error| of_job(&error))?;
        tensors.load(weights.values()).map_err(|error| of_job(&error))?;
        Ok((data, model, tensors))
    }

    /// Shape and classes of a job's samples: as the job says, or else as its data do, which are loaded then.
    fn described(&self, spec: &JobSpec) -> Result<DataDescription, PrepareError> {
        match self.registry.input_spec(&spec.data)? {
            Some(input_spec) => Ok(input_spec.description()),
            None => Ok(self.dataset(spec, &Cancellation::default())?.description().clone()),
        }
    }
}

/// The error of a job or its model.
fn of_job(error: &dyn std::fmt::Display) -> PrepareError {
    PrepareError::Job(error.to_string())
}
