use serde_json::json;

use super::*;
use crate::models::{BatchPosition, Mode};
use crate::test_support::{build_model, names_and_shapes, refusal};

#[test]
fn wrn_28_10_has_as_many_parameters_as_pytorchs() {
    let model = json!({ "kind": "wide_resnet", "depth": 28, "width": 10 });
    let (_, tensors) = build_model(model, &[3, 32, 32], 10).unwrap();
    assert_eq!(tensors.layout().parameters(), 36_479_194);
}

#[test]
fn only_blocks_that_change_the_shape_have_a_projection() {
    let model = json!({ "kind": "wide_resnet", "depth": 16, "width": 2 });
    let (_, tensors) = build_model(model, &[3, 8, 8], 5).unwrap();
    let names: Vec<_> =
        names_and_shapes(&tensors).into_iter().filter(|(name, _)| name.contains("shortcut")).collect();
    let shape = |name: &str, shape: [usize; 4]| (name.to_owned(), shape.to_vec());
    assert_eq!(
        names,
        [
            shape("layer1.0.shortcut.0.weight", [32, 16, 1, 1]),
            shape("layer2.0.shortcut.0.weight", [64, 32, 1, 1]),
            shape("layer3.0.shortcut.0.weight", [128, 64, 1, 1]),
        ]
    );
}

#[test]
fn dropout_acts_in_training_passes_and_follows_the_sample() {
    let model = json!({ "kind": "wide_resnet", "depth": 10, "width": 1, "dropout": 0.4, "norm": "group", "groups": 4 });
    let (model, tensors) = build_model(model, &[3, 8, 8], 5).unwrap();
    tensors.load(tensors.initial(1).values()).unwrap();
    let inputs = Tensor::ones((2, 3, 8, 8), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let forward = |mode, samples: &[u64]| {
        let context = ForwardContext::new(mode, BatchPosition::default(), samples);
        model.forward(&inputs, &context).unwrap().to_vec2::<f32>().unwrap()
    };
    let tested = forward(Mode::Test, &[3, 9]);
    assert_eq!(tested[0], tested[1]);
    let trained = forward(Mode::Train, &[3, 9]);
    assert_ne!(trained[0], trained[1]);
    assert_eq!(trained[1], forward(Mode::Train, &[9, 3])[0]);
}

#[test]
fn parameters_are_refused_by_their_path() {
    for (depth, width, dropout, expected) in [
        (28, 0, 0.0, "model.width: expected 1 to 1024, found 0"),
        (27, 1, 0.0, "model.depth: expected 6n + 4 from 10 to 1000, for example 28, found 27"),
        (4, 1, 0.0, "model.depth"),
        (0, 1, 0.0, "model.depth"),
        (1006, 1, 0.0, "model.depth"),
        (10, 1, 1.0, "model.dropout: expected 0 or more and below 1, found 1"),
        (10, 1, -0.5, "model.dropout"),
    ] {
        let model = json!({ "kind": "wide_resnet", "depth": depth, "width": width, "dropout": dropout });
        let error = refusal(model);
        assert!(error.contains(expected), "{error}");
    }
}
