//! Shared by several unit tests: job specifications, scratch data folders and models.

use candle_core::Device;
use lookbehind_common::job::{JobSpec, ModelSpec, parse_toml};
use lookbehind_common::random::{Key, Purpose};
use serde_json::Value;
use tempfile::TempDir;

use crate::data::Dataset as _;
use crate::data::{DataDescription, DataEnvironment, InMemory, Rows};
use crate::models::{BuildError, Model};
use crate::parameters::{ModelTensors, Recorder};
use crate::registry::Registry;

/// A temporary data folder, with a memory limit of 8 GiB.
pub(crate) fn data_folder() -> (TempDir, DataEnvironment) {
    let folder = TempDir::new().unwrap();
    let environment = DataEnvironment::local(folder.path().to_owned(), 1 << 33);
    (folder, environment)
}

/// Description of a data set with inputs of the given shape.
pub(crate) fn description(input_shape: &[usize], classes: usize) -> DataDescription {
    let size: usize = input_shape.iter().product();
    let rows = Rows { inputs: vec![0.0; size], targets: vec![0] };
    InMemory::new(input_shape.to_vec(), classes, rows, Rows::default()).unwrap().description().clone()
}

/// A job from the tables that a test needs; the optimizer is plain SGD.
pub(crate) fn job(model: &str, data: &str, train: &str) -> JobSpec {
    let text = format!(
        "name = \"test\"\nseed = 7\n[model]\n{model}\n[data]\n{data}\n[train]\n{train}\n\
         [optimizer]\nmethod = \"sgd\"\n[optimizer.base]\nkind = \"sgd\"\n"
    );
    parse_toml(&text).unwrap().validate().unwrap()
}

/// Keyed values from a standard normal distribution.
pub(crate) fn normal_values(seed: u64, len: usize) -> Vec<f32> {
    let mut stream = Key::new(seed, Purpose::Probe).stream();
    (0..len).map(|_| stream.normal()).collect()
}

/// A model of the registry from its table, for inputs of the given shape; at most 256 MiB of weights.
pub(crate) fn build_model(
    model: Value,
    input_shape: &[usize],
    classes: usize,
) -> Result<(Box<dyn Model>, ModelTensors), BuildError> {
    let Value::Object(mut parameters) = model else { panic!("a model is an object, not {model}") };
    let kind = parameters.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)).expect("a kind");
    let recorder = Recorder::new(Device::Cpu, 1 << 28);
    let spec = ModelSpec { kind, init: None, parameters };
    let model = Registry::builtin().model(&spec, &description(input_shape, classes), recorder.builder())?;
    Ok((model, recorder.finish().expect("a layout")))
}

/// The error for a model that cannot be built for images of 3 x 8 x 8 and 5 classes.
pub(crate) fn refusal(model: Value) -> String {
    match build_model(model.clone(), &[3, 8, 8], 5) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("built from {model}"),
    }
}

/// Names and shapes of a model's tensors, in the model's order.
pub(crate) fn names_and_shapes(tensors: &ModelTensors) -> Vec<(String, Vec<usize>)> {
    let entries = tensors.layout().entries().iter();
    entries.map(|entry| (entry.spec.name.clone(), entry.spec.shape.clone())).collect()
}
