use candle_core::{Device, Result as CandleResult, Tensor};
use lookbehind_common::job::{Parameters, parse_toml};

use super::*;
use crate::data::{InMemory, Rows};
use crate::models::ForwardContext;
use crate::parameters::Recorder;
use crate::test_support::{data_folder, description, job};

struct Scale(Tensor);

impl Model for Scale {
    fn forward(&self, inputs: &Tensor, _pass: &ForwardContext<'_>) -> CandleResult<Tensor> {
        inputs.broadcast_mul(&self.0)
    }
}

fn tiny(_: &Parameters, _: &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> {
    let rows = Rows { inputs: vec![0.0], targets: vec![0] };
    Ok(Box::new(InMemory::new(vec![1], 1, rows, Rows::default())?))
}

#[test]
fn models_and_data_sets_of_ones_own_are_found_by_their_kind() {
    let registry = Registry::builtin()
        .with_model("scale", |_, data, builder| Ok(Box::new(Scale(builder.get(data.classes, "scale")?))))
        .with_dataset("tiny", tiny);
    let (_folder, environment) = data_folder();
    let spec = job("kind = \"scale\"", "kind = \"tiny\"", "epochs = 1\nbatch_size = 1");
    let data = registry.dataset(&spec.data, spec.seed, &environment).unwrap();
    let recorder = Recorder::new(Device::Cpu, 1 << 10);
    registry.model(&spec.model, data.description(), recorder.builder()).unwrap();
    assert_eq!(recorder.finish().unwrap().layout().parameters(), 1);
}

#[test]
fn nothing_is_known_beforehand_of_a_data_set_of_ones_own() {
    let registry = Registry::builtin().with_dataset("cifar10", |_, _| unreachable!("nothing is loaded"));
    let data = "kind = \"cifar10\"\nwhatever = 1";
    let spec = job("kind = \"vit\"", data, "epochs = 1\nbatch_size = 1");
    assert_eq!(registry.input_spec(&spec.data).unwrap(), None);
}

#[test]
fn an_unknown_kind_is_refused_with_the_known_ones() {
    let registry = Registry::builtin().with_dataset("tiny", tiny);
    let (_folder, environment) = data_folder();
    let spec = job("kind = \"perceptron\"", "kind = \"numbers\"", "epochs = 1\nbatch_size = 1");
    let error = registry.dataset(&spec.data, spec.seed, &environment).err().unwrap();
    assert!(error.is_fault_of_job());
    let expected = "data.kind: expected one of cifar10, cifar100, csv, digits, folder, idx, parquet, safetensors, tiny, \
         webdataset, found \"numbers\"";
    assert_eq!(error.to_string(), expected);
    let recorder = Recorder::new(Device::Cpu, 1 << 10);
    let error = registry.model(&spec.model, &description(&[1], 1), recorder.builder()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "model.kind: expected one of mlp, resnet, sequential, vit, wide_resnet, found \"perceptron\""
    );
}

#[test]
fn the_models_of_the_example_jobs_can_be_built() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/jobs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let spec = parse_toml(&std::fs::read_to_string(&path).unwrap()).unwrap().validate().unwrap();
        let shape: &[usize] = if spec.data.kind == "digits" { &[8, 8] } else { &[3, 32, 32] };
        let recorder = Recorder::new(Device::Cpu, 1 << 28);
        let built = Registry::builtin().model(&spec.model, &description(shape, 10), recorder.builder());
        assert!(built.is_ok(), "{}: {}", path.display(), built.err().unwrap());
    }
}

#[test]
fn a_misspelt_kind_is_answered_with_the_right_one() {
    let spec = job("kind = \"resnte\"", "kind = \"digtis\"", "epochs = 1\nbatch_size = 1");
    let registry = Registry::builtin();
    let error = registry.check_kinds(&spec.model, &spec.data).unwrap_err().to_string();
    assert!(error.ends_with("found \"resnte\"; did you mean \"resnet\"?"), "{error}");
    let (_folder, environment) = data_folder();
    let error = registry.dataset(&spec.data, spec.seed, &environment).err().unwrap().to_string();
    assert!(error.ends_with("found \"digtis\"; did you mean \"digits\"?"), "{error}");
}
